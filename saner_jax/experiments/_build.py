"""From options to what a run trains on and with: data, noisy labels, model, optimizer.

Everything here follows from the options and the seed alone, so that methods can be paired and a
run can resume.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from saner_jax.data import Dataset, augment, channel_statistics, load
from saner_jax.data.noise import NOISE_TYPES, NoisyLabels, from_file, human, instance
from saner_jax.experiments._config import RunConfig
from saner_jax.models import build
from saner_jax.recipes import RECIPES
from saner_jax.step import MASKS, alpha_warmup, per_device
from saner_jax.training import Optimizer, PixelFunctions

# Streams of random numbers apart from those of `default_rng(seed)`, which noise uses, and from the
# orders of epochs, whose spawn keys have one number.
_SUBSET, _VALIDATION = (0, 0), (0, 1)


def load_data(config: RunConfig) -> Dataset:
    """Load the dataset that the options name, and keep `num_train` images of it.

    Args:
        config: the options.

    Returns:
        The dataset.

    Raises:
        ValueError: for a dataset that cannot be read or has fewer images than asked for.

    Example:
        >>> len(load_data(RunConfig(num_train=100)).train_labels)
        100
    """
    dataset = load(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    if config.num_train is None:
        return dataset
    total = len(dataset.train_labels)
    if config.num_train > total:
        raise ValueError(
            f"num_train must be at most {total}, the number of training images of"
            f" {config.dataset}, got {config.num_train}"
        )
    rows = _even_sample(dataset.train_labels, config.num_train)
    return dataset._replace(
        train_images=dataset.train_images[rows],
        train_labels=dataset.train_labels[rows],
        train_index=dataset.train_index[rows],
        train_files=tuple(dataset.train_files[row] for row in rows if dataset.train_files),
    )


def draw_noise(config: RunConfig, dataset: Dataset, seed: int) -> NoisyLabels:
    """Flip training labels as the options ask.

    Args:
        config: the options.
        dataset: as from `load_data`.
        seed: of the run; human noise takes none.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for noise that does not fit the dataset, and human labels that cannot be read.

    Example:
        >>> config = RunConfig(rate=0.2)
        >>> round(draw_noise(config, load_data(config), seed=0).rate, 2)
        0.2
    """
    labels, num_classes = dataset.train_labels, len(dataset.class_names)
    if config.noise.startswith("human:"):
        if config.noise_dir is None:
            raise ValueError(f"noise_dir must name the folder of CIFAR-N for {config.noise}")
        if config.dataset not in ("cifar10", "cifar100"):
            raise ValueError(f"noise {config.noise} is for cifar10 and cifar100 alone")
        kind = config.noise.removeprefix("human:")
        return human(
            labels,
            kind,
            dataset=config.dataset,
            folder=config.noise_dir,
            ids=dataset.train_index,
        )
    if config.noise == "file":
        if config.labels_file is None:
            raise ValueError("labels_file must name the file of labels for noise file")
        ids = dataset.train_index
        return from_file(labels, config.labels_file, num_classes=num_classes, ids=ids)
    if config.noise == "instance":
        images = dataset.train_images
        return instance(labels, images, config.rate, num_classes=num_classes, seed=seed)
    return NOISE_TYPES[config.noise](labels, config.rate, num_classes=num_classes, seed=seed)


def held_out(num_examples: int, fraction: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split rows into those to train on and those to choose the best epoch by.

    Args:
        num_examples: how many rows there are.
        fraction: share held out, in [0, 1), rounded down to whole rows.
        seed: of the run.

    Returns:
        Two ascending arrays of row numbers, which together hold each row once.

    Example:
        >>> train, validation = held_out(10, 0.25, seed=0)
        >>> len(train), len(validation)
        (8, 2)
    """
    order = _shuffled(num_examples, seed)
    num_held = int(fraction * num_examples)
    return np.sort(order[num_held:]), np.sort(order[:num_held])


def held_out_fold(
    num_examples: int, num_folds: int, fold: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split rows into all folds but one, to train on, and that one.

    Args:
        num_examples: how many rows there are, at least `num_folds`.
        num_folds: parts of equal size, up to one row; every row is in one of them.
        fold: which one is held out, from 0.
        seed: of the run.

    Returns:
        Two ascending arrays of row numbers, which together hold each row once.

    Example:
        >>> train, held = zip(*(held_out_fold(10, 3, fold, seed=0) for fold in range(3)))
        >>> [len(rows) for rows in held], np.sort(np.concatenate(held)).tolist() == list(range(10))
        ([4, 3, 3], True)
    """
    folds = np.array_split(_shuffled(num_examples, seed), num_folds)
    rest = [rows for number, rows in enumerate(folds) if number != fold]
    return np.sort(np.concatenate(rest)), np.sort(folds[fold])


def build_model(config: RunConfig, dataset: Dataset) -> Any:
    """Build the model that the options name, for the dataset's classes.

    Args:
        config: the options.
        dataset: as from `load_data`.

    Returns:
        A Flax Linen module.

    Raises:
        ValueError: for options that do not fit the model, images that it cannot take, and a
            `perturb_mask` that selects none of its parameters.
    """
    num_classes = len(dataset.class_names)
    options = {"hidden_widths": tuple(config.hidden_widths)} if config.model == "mlp" else {}
    model = build(
        config.model,
        num_classes,
        norm=config.norm,
        width=config.width,
        dtype=jnp.dtype(config.precision),
        **options,
    )
    blank = jax.ShapeDtypeStruct((1, *dataset.train_images.shape[1:]), jnp.float32)
    try:
        params = jax.eval_shape(model.init, jax.random.key(0), blank)["params"]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"model {config.model} cannot take images of {blank.shape[1:]}: {reason}"
        ) from error
    mask = MASKS[config.perturb_mask]
    if mask is not None and not any(jax.tree.leaves(mask(params))):
        raise ValueError(
            f"perturb_mask {config.perturb_mask} selects nothing in model {config.model}"
        )
    return model


def initial_variables(model: Any, dataset: Dataset, seed: int) -> tuple[Any, Any]:
    """Draw a model's initial parameters, and the statistics it keeps beside them.

    Args:
        model: a Flax Linen module.
        dataset: whose images it takes.
        seed: of the run.

    Returns:
        The parameters, and the other collections, `{}` if there are none.
    """
    blank = jnp.zeros((1, *dataset.train_images.shape[1:]))
    variables = dict(jax.jit(model.init)(jax.random.key(np.uint32(seed)), blank))
    return variables.pop("params"), variables


def pixel_functions(
    config: RunConfig, dataset: Dataset, seed: jax.typing.ArrayLike
) -> PixelFunctions:
    """Make the functions that turn uint8 images into what the model sees.

    Args:
        config: the options.
        dataset: whose training images give mean and standard deviation per channel.
        seed: of the run, for the augmentation.

    Returns:
        The functions for evaluation and for training, which augments by the number of the step.
    """
    # Of an image's rank, for those who run with JAX's rank promotion off.
    mean, deviation = (row[None, None, None] for row in channel_statistics(dataset.train_images))
    scale = np.full_like(mean, 255)
    if config.pixels == "standardized":
        # A channel of one value has nothing to scale.
        scale = np.where(deviation < 1e-6, scale, deviation)

    def normalize(images: jax.Array) -> jax.Array:
        return (images.astype(jnp.float32) - mean) / scale

    def prepare(images: jax.Array, step: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(jnp.asarray(seed, jnp.uint32)), step)
        images = augment(
            key,
            images,
            crop_padding=config.crop_padding,
            flip=config.flip,
            cutout_size=config.cutout_size,
        )
        return normalize(images)

    return PixelFunctions(normalize, prepare)


def build_optimizer(
    method: str,
    config: RunConfig,
    steps_per_epoch: int,
    *,
    metrics: bool = False,
    axis_name: str | None = None,
) -> Optimizer:
    """Build one method's optimizer: the recipe, then the base with its decay and schedule.

    Args:
        method: "sgd" (the base alone), or a key of `saner_jax.RECIPES`.
        config: the options.
        steps_per_epoch: updates per epoch, at least 1.
        metrics: whether the recipe keeps `StepMetrics`.
        axis_name: of the devices each of which perturbs for itself, see `saner_jax.per_device`;
            None: one perturbation.

    Returns:
        The transformation with its schedules; all but that of "sgd" need `params` and `grad_fn`.

    Raises:
        KeyError: for another method.

    Example:
        >>> optimizer = build_optimizer(
        ...     "sgd", RunConfig(learning_rate=0.5, weight_decay=0.0), steps_per_epoch=22)
        >>> params = jnp.zeros(1)
        >>> optimizer.tx.update(jnp.ones(1), optimizer.tx.init(params), params)[0].tolist()
        [-0.5]
    """
    learning_rate = _learning_rate(config, steps_per_epoch)
    if config.base == "adamw":
        base = optax.adamw(learning_rate, b1=config.momentum, weight_decay=config.weight_decay)
    else:
        base = optax.chain(
            optax.add_decayed_weights(config.weight_decay),
            optax.sgd(learning_rate, momentum=config.momentum),
        )
    alpha, strengths = optax.constant_schedule(0.0), {}
    average = lambda recipe: recipe if axis_name is None else per_device(recipe, axis_name)
    if method == "sgd":
        tx = optax.chain(average(optax.identity()), base)
        return Optimizer(base if axis_name is None else tx, learning_rate, 0.0, alpha)
    # GSAM has an alpha of its own, with another meaning.
    if method.endswith("saner"):
        alpha = alpha_warmup(
            config.alpha,
            warmup_epochs=config.alpha_warmup_fraction * config.epochs,
            steps_per_epoch=steps_per_epoch,
        )
        strengths = {"alpha": alpha}
    recipe = RECIPES[method](
        config.rho, perturb_mask=MASKS[config.perturb_mask], metrics=metrics, **strengths
    )
    return Optimizer(optax.chain(average(recipe), base), learning_rate, config.rho, alpha)


def _learning_rate(config: RunConfig, steps_per_epoch: int) -> optax.Schedule:
    peak, total = config.learning_rate, config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    after: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(total - warmup, 1)),
        "multistep": lambda: optax.piecewise_constant_schedule(
            # As lr_scheduler.MultiStepLR in the papers' code: whole epochs, counted from the start.
            peak,
            {int(share * config.epochs) * steps_per_epoch - warmup: 0.1 for share in (0.5, 0.75)},
        ),
    }
    schedule = after[config.schedule]()
    if warmup:
        schedule = optax.join_schedules(
            [optax.linear_schedule(0.0, peak, warmup), schedule], [warmup]
        )
    # Cast, since schedules compare their integer count with floats.
    return lambda count: schedule(jnp.asarray(count, jnp.float32))


def _shuffled(num_examples: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_VALIDATION))
    return rng.permutation(num_examples)


def _even_sample(labels: NDArray[np.int32], size: int) -> NDArray[np.intp]:
    """Take each class's first shuffled examples in turn until there are enough; ascending rows."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=_SUBSET))
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])
