"""The options of a run by topic; every builder takes the part that it needs.

The name of an option is the same in Python, on the command line and in config.json, and no two
parts share one.
"""

from dataclasses import dataclass
from pathlib import Path

from saner_jax.data import ImageFit, Stream
from saner_jax.experiments._choices import (
    Base,
    ClassWeights,
    Loss,
    Model,
    Noise,
    PerturbMask,
    Pixels,
    Precision,
    Schedule,
    StatisticsFrom,
)
from saner_jax.experiments._ranges import (
    Count,
    NonNegative,
    Positive,
    Share,
    ShareBelowOne,
    WholeNumber,
)


@dataclass(frozen=True)
class DataOptions:
    """The examples."""

    dataset: str = "digits"
    """"digits" (1,797 real 8x8 images that come with scikit-learn), "cifar10" or "cifar100" (see
    data_dir), a folder of images, split/class/* or class/*, or a file: a .csv or .parquet table
    with a column of labels and numeric columns or a column of image files, an .npz file with
    train_images or train_features and train_labels, or an .npy file of images or features. Also a
    folder that Hugging Face's datasets saved, and "tfds:NAME" for one that TFDS prepared."""
    labels_from: str | None = None
    """Where the labels are: the column of a table (label, target, class or y if not given), or the
    .npy file of labels that goes with an .npy file (the one beside it if not given)."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets with a prepared cifar10 or cifar100; $TFDS_DATA_DIR or
    ~/tensorflow_datasets if not given."""
    image_size: Count | None = None
    """Bring the images of a folder or list to squares of this side; as they are if not given."""
    image_fit: ImageFit = "crop"
    """How images get that size: crop (the shorter side is resized, the middle is cut out), pad (the
    longer side is resized, white is added) or stretch (the aspect ratio changes)."""
    skip_unreadable: bool = False
    """Go on without image files that cannot be read, and list them in left_out.csv."""
    stream: Stream = "auto"
    """Whether image files are decoded whenever they are used: always, never (all are decoded into
    memory at the start) or auto (if they would take more than a quarter of the memory)."""
    cache_dir: Path | None = None
    """Folder in which streamed images are kept decoded, so that they are decoded once; its size is
    that of their pixels. With it, auto streams."""
    num_train: Count | None = None
    """Use this many training examples only, drawn evenly from the classes, the same for every
    seed."""
    test_fraction: ShareBelowOne = 0.1
    """Share of the training examples that are set aside as test examples where the dataset has
    none, with their labels as they are. 0: no test examples, so that accuracy is unknown."""
    labels_file: Path | None = None
    """CSV file of corrected labels, as saner-jax relabel writes it: the columns key, label and
    hash. Examples that it does not list keep the dataset's label."""


@dataclass(frozen=True)
class PlaceOptions:
    """Where the data of a run are now, if they were moved; each is the run's own if not given."""

    dataset: str | None = None
    """The same examples in another file or folder."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets with a prepared cifar10 or cifar100."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N."""
    labels_file: Path | None = None
    """CSV file of corrected labels."""
    labels_from: str | None = None
    """The .npy file of labels that goes with an .npy file."""
    stream: Stream | None = None
    """Whether image files are decoded whenever they are used."""
    cache_dir: Path | None = None
    """Folder in which streamed images are kept decoded."""


@dataclass(frozen=True)
class NoiseOptions:
    """The labels that are flipped on purpose, for experiments."""

    noise: Noise | None = None
    """How training labels are flipped: none, symmetric (to any other class), symmetric_inclusive
    (to any class, the true one included), pair (to the next class), asymmetric_* (to similar
    classes), instance (depending on the image), human:worse and its kin (CIFAR-N, see noise_dir).
    file is none, and needs labels_file. If not given: symmetric for digits, cifar10 and cifar100
    without labels_file, none for data of your own."""
    rate: Share | None = None
    """Share of training labels to flip, from 0 to 1; 0.4 if not given. Ignored for human noise."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N: CIFAR-10_human.pt and image_order_c10.npy."""


@dataclass(frozen=True)
class ModelOptions:
    """The model."""

    model: Model = "mlp"
    """mlp, resnet8 (small enough for a CPU), resnet18, resnet34, resnet50, wrn28_10, wrn40_2,
    vit_tiny or vit_small."""
    hidden_widths: tuple[Count, ...] = (256, 256)
    """Width of each hidden layer of the mlp; none makes it a linear classifier."""
    norm: str | None = None
    """Normalization layers: batch, layer, group or none; the model's own if not given."""
    width: Positive = 1.0
    """Factor on a residual net's channels."""
    precision: Precision = "float32"
    """Numbers of the model's products, float32 or bfloat16. Parameters, normalization and
    statistics are float32 in both."""


@dataclass(frozen=True)
class PixelOptions:
    """The inputs of the model."""

    pixels: Pixels = "centered"
    """Inputs of the model: pixels / 255, centered (the training images' mean per channel is
    subtracted) or standardized (and divided by their standard deviation). Features that are no
    images are always standardized, each by its own mean and standard deviation."""
    crop_padding: WholeNumber = 0
    """Random crops out of training images padded by this many black pixels; 0 is off."""
    flip: bool = False
    """Mirror every other training image, at random."""
    cutout_size: WholeNumber = 0
    """Side of the square blotted out at random in training images; 0 is off."""


@dataclass(frozen=True)
class LossOptions:
    """The loss of an example."""

    loss: Loss = "cross_entropy"
    """cross_entropy, mean_absolute_error or generalized_cross_entropy (between the two, less fitted
    to wrong labels than the first)."""
    label_smoothing: ShareBelowOne = 0.0
    """Weight of each label that is spread evenly over all classes; for cross_entropy. 0 is off."""
    class_weights: ClassWeights = "none"
    """balanced: every class counts the same in the loss, whatever its number of training
    examples."""


@dataclass(frozen=True)
class PerturbationOptions:
    """The perturbation of SAM and the damping of SANER."""

    rho: NonNegative = 0.1
    """Radius of the perturbation, in the recipe's own unit; 0 makes every recipe its base."""
    perturb_mask: PerturbMask = "all"
    """Which parameters are perturbed: all, normalization_only (SAM-ON, which wants five to ten
    times the radius), all_but_normalization or last_layer. All of them are trained."""
    alpha: Share = 0.5
    """SANER's strength, from 0 (the recipe without SANER) to 1 (drop the shrunk coordinates)."""
    alpha_warmup_fraction: Share = 0.25
    """Share of training over which alpha rises linearly from 0, from 0 to 1."""
    statistics_from: StatisticsFrom = "origin"
    """Pass of a step whose running statistics batch normalization keeps: origin or perturbed."""


@dataclass(frozen=True)
class OptimizerOptions:
    """The base optimizer and its learning rate."""

    base: Base = "sgd"
    """Base optimizer: sgd (with momentum) or adamw."""
    learning_rate: NonNegative = 0.05
    """Largest learning rate."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up: cosine (to 0 at the end), multistep (a tenth after 50 % and
    again after 75 % of training) or constant."""
    warmup_epochs: NonNegative = 0.0
    """Epochs over which the learning rate rises linearly from 0."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd, and first decay of adamw, at least 0 and below 1."""
    weight_decay: NonNegative = 5e-4
    """Multiple of the parameters added to the gradient (sgd) or to the update (adamw); 0 is off."""


@dataclass(frozen=True)
class BudgetOptions:
    """The length of training."""

    epochs: Count = 60
    """Passes over the training set."""
    batch_size: Count = 64
    """Examples per step. The last examples of an epoch that do not fill a batch are left out."""


@dataclass(frozen=True)
class IntervalOptions:
    """How often a run evaluates, saves, and returns from the device."""

    evaluate_every_epochs: Count = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    checkpoint_every_epochs: Count = 1
    """Epochs between checkpoints; the last epoch always leaves one."""
    steps_per_dispatch: Count | None = None
    """Steps in one compiled program. If not given: 1 on CPU, where convolutions in loops are slow,
    and an epoch elsewhere and for the mlp."""


@dataclass(frozen=True)
class HeldOutOptions:
    """The training examples that are held out, with their noisy labels."""

    validation_fraction: ShareBelowOne = 0.0
    """Share held out to choose the best epoch by. With 0 no best epoch is kept, and a run equals
    that of compare with the same seed."""
    num_folds: WholeNumber = 0
    """Hold out one of this many equal parts instead; 0 is off."""
    fold: WholeNumber = 0
    """Which of the parts, from 0."""


@dataclass(frozen=True)
class DeviceOptions:
    """Devices and processes; they may change from one part of a run to the next."""

    devices: Count | None = None
    """Devices of each process to spread batches over; 1, or the run's own with resume, if not
    given."""
    coordinator: str | None = None
    """For several processes: address:port of process 0, or auto where JAX finds it (TPU pods,
    Slurm). Process 0 alone writes; all must see the run folder and the data."""
    num_processes: Count | None = None
    """How many processes there are, if JAX does not find it."""
    process_id: WholeNumber | None = None
    """Which of them this is, from 0, if JAX does not find it."""


@dataclass(frozen=True)
class OutputOptions:
    """Where the results go."""

    output_folder: Path | None = None
    """New folder for the run; runs/<command>-<date>-<time> if not given. An existing folder is
    never touched."""


@dataclass(frozen=True)
class TrainOutputOptions(OutputOptions):
    """Where the results go, and the run to continue."""

    tensorboard: bool = False
    """Also write TensorBoard events; needs tensorboardX."""
    resume: Path | None = None
    """Go on with the run of this folder from its newest checkpoint, with its own options."""
