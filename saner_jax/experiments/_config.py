"""Options of the commands, and the sentences that refuse a bad one."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from saner_jax._core._numbers import check_count, is_count, is_number
from saner_jax.experiments._choices import (
    Base,
    Method,
    Model,
    Noise,
    PerturbMask,
    Pixels,
    Precision,
    Schedule,
    StatisticsFrom,
)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every training run has: data, noise, model, strengths, optimizer, schedule."""

    dataset: str = "digits"
    """"digits" (1,797 real 8x8 images that come with scikit-learn), "cifar10" or "cifar100" (see
    data_dir), the path of an .npz file with train_images, train_labels, test_images and
    test_labels, or a folder of images, split/class/*."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets with a prepared cifar10 or cifar100; $TFDS_DATA_DIR or
    ~/tensorflow_datasets if not given."""
    image_size: int | None = None
    """Resize the images of an image folder to squares of this side; as they are if not given."""
    num_train: int | None = None
    """Train on this many images only, drawn evenly from the classes, the same for every seed."""
    noise: Noise = "symmetric"
    """How training labels are flipped: symmetric (to any other class), symmetric_inclusive (to any
    class, the true one included), pair (to the next class), asymmetric_* (to similar classes),
    instance (depending on the image), human:worse and its kin (CIFAR-N, see noise_dir), file (see
    labels_file). Test labels stay right."""
    rate: float = 0.4
    """Share of the training labels to flip, from 0 to 1, 0 for labels that are wrong by themselves;
    human noise and files have their own."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N: CIFAR-10_human.pt and image_order_c10.npy."""
    labels_file: Path | None = None
    """CSV file with the columns index and label, as saner-jax relabel writes it; examples that it
    does not list keep the dataset's label."""
    model: Model = "mlp"
    """mlp, resnet8 (small enough for a CPU), resnet18, resnet34, resnet50, wrn28_10, wrn40_2,
    vit_tiny or vit_small."""
    hidden_widths: tuple[int, ...] = (256, 256)
    """Width of each hidden layer of the mlp; none makes it a linear classifier."""
    norm: str | None = None
    """Normalization layers: batch, layer, group or none; the model's own if not given."""
    width: float = 1.0
    """Multiple of a residual net's channels."""
    precision: Precision = "float32"
    """Numbers of the model's products, float32 or bfloat16; parameters, norms and statistics are
    float32 in both."""
    pixels: Pixels = "centered"
    """What the model sees: pixels / 255, centered (the training images' mean per channel is
    subtracted) or standardized (and divided by their standard deviation)."""
    crop_padding: int = 0
    """Random crops out of training images padded by this many black pixels; 0 is off."""
    flip: bool = False
    """Mirror every other training image, at random."""
    cutout_size: int = 0
    """Side of the square blotted out at random in training images; 0 is off."""
    rho: float = 0.1
    """Radius of the perturbation, in the recipe's own unit; 0 makes every recipe its base."""
    perturb_mask: PerturbMask = "all"
    """Which parameters are perturbed: all, normalization_only (SAM-ON, which wants five to ten
    times the radius), all_but_normalization or last_layer. All of them are trained."""
    alpha: float = 0.5
    """SANER's strength, from 0 (the recipe without SANER) to 1 (drop what shrank)."""
    alpha_warmup_fraction: float = 0.25
    """Share of training over which alpha rises linearly from 0, from 0 to 1."""
    base: Base = "sgd"
    """Base optimizer: sgd (with momentum) or adamw."""
    learning_rate: float = 0.05
    """Largest learning rate."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up: cosine (to 0 at the end), multistep (a tenth after 50 % and
    again after 75 % of training) or constant."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises linearly from 0."""
    momentum: float = 0.9
    """Momentum of sgd, and first decay of adamw, at least 0 and below 1."""
    weight_decay: float = 5e-4
    """Multiple of the parameters added to the gradient (sgd) or to the update (adamw); 0 is off."""
    epochs: int = 60
    """Passes over the training set."""
    batch_size: int = 64
    """Examples per step; those left over by the last whole batch sit the epoch out."""
    statistics_from: StatisticsFrom = "origin"
    """Pass of a step whose running statistics batch normalization keeps: origin or perturbed."""
    output_folder: Path | None = None
    """New folder for the run; runs/<command>-<date>-<time> if not given. An existing folder is
    never touched."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Train one model with one method on noisy labels, keeping checkpoints to resume from."""

    method: Method = "saner"
    """sgd (the base optimizer alone), or a recipe of saner_jax: sam, asam, gsam, friendly_sam,
    vasso, wsam, stable_sam, zsharp, sparse_sam, saner, asaner, gsaner, friendly_saner,
    vasso_saner, sam_only, sam_without, look_sam or ae_sam; ncsam is refused, because it needs
    another gradient."""
    seed: int = 0
    """Seed of the noise, the initial parameters, the order and the augmentation."""
    validation_fraction: float = 0.0
    """Share of the training examples held out, with their noisy labels, to choose the best epoch
    by; with 0 no best epoch is kept, and a run is that of compare with the same seed."""
    num_folds: int = 0
    """Hold out one of this many equal parts instead; 0 is off."""
    fold: int = 0
    """Which of the parts, from 0."""
    evaluate_every_epochs: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    checkpoint_every_epochs: int = 1
    """Epochs between checkpoints; the last epoch always leaves one."""
    steps_per_dispatch: int | None = None
    """Steps in one compiled program; if not given 1 on CPU, where convolutions in loops are slow,
    and an epoch elsewhere and for the mlp."""
    per_device_perturbation: bool = False
    """On several devices, perturb and normalize on each by its own share of the batch; otherwise
    there is one perturbation from the whole batch, the same on any number of devices."""
    devices: int | None = None
    """Devices of each process to spread batches over; 1, or the run's own with resume, if not
    given."""
    coordinator: str | None = None
    """For several processes: address:port of process 0, or auto where JAX can tell (TPU pods,
    Slurm). Process 0 alone writes; all must see the run folder and the data."""
    num_processes: int | None = None
    """How many processes there are, if JAX cannot tell."""
    process_id: int | None = None
    """Which of them this is, from 0, if JAX cannot tell."""
    tensorboard: bool = False
    """Also write TensorBoard events; needs tensorboardX."""
    resume: Path | None = None
    """Go on with the run of this folder from its newest checkpoint, with its own options."""


PROCESS_OPTIONS = ("coordinator", "num_processes", "process_id")
DEVICE_OPTIONS = ("devices", *PROCESS_OPTIONS)
"""Options that may change from one part of a run to the next."""


@dataclasses.dataclass(frozen=True)
class CompareConfig(RunConfig):
    """Train each method on the same noisy labels and tabulate what it learned and memorized."""

    methods: tuple[Method, ...] = ("sgd", "sam", "saner")
    """Methods to compare: sgd, or any recipe that saner-jax train takes."""
    seeds: int = 5
    """How many runs per method; each has its own noise, initialization and order, the same for
    every method."""
    first_seed: int = 0
    """Seed of the first run; the others follow by one."""

    @property
    def all_seeds(self) -> range:
        """The seed of every run."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a checkpoint of a run on its training, held-out and test images."""

    run: tyro.conf.Positional[Path | None] = None
    """Run folder of saner-jax train."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: last, or best (by held-out noisy labels)."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Make one page of runs, with pictures inside, to read, print or send."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of saner-jax train and compare, with the suspects in them, if there are any."""
    output_file: Path | None = None
    """New HTML file; report.html in the first run folder if not given."""


@dataclasses.dataclass(frozen=True)
class ExplainConfig:
    """Draw why SANER resists wrong labels: the theory, a toy, and a small net on digits."""

    seeds: int = 3
    """Seeds of the small net."""
    epochs: int = 60
    """Its passes over the training set."""
    output_folder: Path | None = None
    """New folder for the pictures; runs/explain-<date>-<time> if not given."""


def check_compare(config: CompareConfig) -> None:
    """Refuse options of `saner-jax compare` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_compare(CompareConfig(rate=1.5))
        Traceback (most recent call last):
            ...
        ValueError: rate must be a number from 0 to 1, got 1.5
    """
    check_run(config)
    _check_whole(config, "seeds", 1)
    _check_whole(config, "first_seed", 0)
    if config.first_seed + config.seeds > 2**32:
        raise ValueError(f"first_seed must leave all seeds below 2**32, got {config.first_seed!r}")
    if not config.methods or len(set(config.methods)) < len(config.methods):
        raise ValueError("methods must name at least one method, and none of them twice")
    _check_methods("methods", config.methods, config.statistics_from)


def check_train(config: TrainConfig) -> None:
    """Refuse options of `saner-jax train` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_train(TrainConfig(validation_fraction=1.0))
        Traceback (most recent call last):
            ...
        ValueError: validation_fraction must be below 1, got 1.0
    """
    check_run(config)
    _check_whole(config, "seed", 0)
    if config.seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {config.seed!r}")
    _check_number(config, "validation_fraction", most=1, below=True)
    _check_whole(config, "num_folds", 0)
    if config.num_folds == 1:
        raise ValueError("num_folds must be 0, or at least 2 to leave something to train on")
    _check_whole(config, "fold", 0)
    if config.fold >= max(config.num_folds, 1):
        raise ValueError(f"fold must be below num_folds, got {config.fold} of {config.num_folds}")
    _check_whole(config, "evaluate_every_epochs", 1)
    _check_whole(config, "checkpoint_every_epochs", 1)
    for name in ("steps_per_dispatch", "devices", "num_processes"):
        if getattr(config, name) is not None:
            _check_whole(config, name, 1)
    if config.process_id is not None:
        _check_whole(config, "process_id", 0)
    if config.coordinator is None and (config.num_processes, config.process_id) != (None, None):
        raise ValueError("num_processes and process_id need coordinator")
    _check_methods("method", (config.method,), config.statistics_from)


def check_explain(config: ExplainConfig) -> None:
    """Refuse options of `saner-jax explain` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_explain(ExplainConfig(epochs=0))
        Traceback (most recent call last):
            ...
        ValueError: epochs must be a whole number of at least 1, got 0
    """
    _check_whole(config, "seeds", 1)
    if config.seeds > 2**32:
        raise ValueError(f"seeds must be at most 2**32, got {config.seeds!r}")
    _check_whole(config, "epochs", 1)


def check_evaluate(config: EvaluateConfig) -> Path:
    """Refuse options of `saner-jax evaluate` out of range.

    Args:
        config: the options.

    Returns:
        The run folder.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_evaluate(EvaluateConfig(Path("runs/a"))).name
        'a'
    """
    if config.run is None:
        raise ValueError("run must name a folder of saner-jax train")
    _check_choices(config)
    return config.run


def check_run(config: RunConfig) -> None:
    """Refuse options that every run has, out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.
    """
    for name in ("rate", "alpha", "alpha_warmup_fraction"):
        _check_number(config, name, most=1)
    for name in ("rho", "learning_rate", "weight_decay", "warmup_epochs"):
        _check_number(config, name)
    _check_number(config, "momentum", most=1, below=True)
    _check_number(config, "width")
    if config.width == 0:
        raise ValueError("width must be above 0")
    for name, least in {"epochs": 1, "batch_size": 1, "crop_padding": 0, "cutout_size": 0}.items():
        _check_whole(config, name, least)
    for name in ("num_train", "image_size"):
        if getattr(config, name) is not None:
            _check_whole(config, name, 1)
    if config.warmup_epochs >= config.epochs:
        raise ValueError(
            f"warmup_epochs must be below epochs, got {config.warmup_epochs!r} of {config.epochs}"
        )
    for width in config.hidden_widths:
        if not is_count(width, 1):
            raise ValueError(f"hidden_widths must be whole numbers of at least 1, got {width!r}")
    _check_choices(config)


def _check_whole(config: Any, name: str, least: int) -> None:
    check_count(name, getattr(config, name), least=least)


def _check_methods(name: str, methods: tuple[Method, ...], statistics_from: StatisticsFrom) -> None:
    """Refuse methods that the trainer cannot run."""
    if "ncsam" in methods:
        raise ValueError(
            f"{name} must be among those whose gradients the trainer computes, got 'ncsam', which "
            "also needs those on simulated wrong labels; call saner_jax.ncsam in your own loop"
        )
    skipping = [method for method in methods if method in ("look_sam", "ae_sam")]
    if skipping and statistics_from == "perturbed":
        raise ValueError(
            f"statistics_from must be origin with {skipping[0]}, which skips the perturbed pass on "
            "some steps, got 'perturbed'"
        )


def _check_choices(config: Any) -> None:
    """Refuse values outside the choices that the types of the fields name."""
    for name, kind in get_type_hints(type(config)).items():
        is_tuple = get_origin(kind) is tuple
        choice = get_args(kind)[0] if is_tuple else kind
        if get_origin(choice) is not Literal:
            continue
        value = getattr(config, name)
        for one in value if is_tuple else (value,):
            if one not in get_args(choice):
                listed = ", ".join(get_args(choice))
                words = "among" if is_tuple else "one of"
                raise ValueError(f"{name} must be {words} {listed}, got {one!r}")


def _check_number(config: Any, name: str, most: float = math.inf, *, below: bool = False) -> None:
    value = getattr(config, name)
    # A whole number may be too large for a float; NaN is not below anything.
    if not (is_number(value) and 0 <= value <= min(most, sys.float_info.max)):
        bound = "of at least 0" if most == math.inf else f"from 0 to {most}"
        raise ValueError(f"{name} must be a number {bound}, got {value!r}")
    if below and value == most:
        raise ValueError(f"{name} must be below {most}, got {value!r}")
