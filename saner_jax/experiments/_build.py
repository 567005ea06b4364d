"""Build the parts of a run from its options: model, inputs, loss and optimizer.

All results depend on the options and the seed alone. Runs of several methods are therefore paired,
and a run can resume.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from saner_jax._options import (
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    PerturbationOptions,
    PixelOptions,
)
from saner_jax.data import Dataset, augment
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments._objective_options import PLAIN, Known, build_named_objective
from saner_jax.experiments._recipe_options import read_recipe_options
from saner_jax.models import FINE_TUNED, PRETRAINED_SCALE, PRETRAINED_SHIFT, build
from saner_jax.objectives import (
    LOSSES,
    LossFn,
    Objective,
    balanced_weights,
    cross_entropy,
    smoothed_cross_entropy,
    weigh_classes,
)
from saner_jax.recipes import RECIPES
from saner_jax.step import (
    MASKS,
    MaskDescription,
    alpha_warmup,
    describe_mask,
    per_device,
    rho_tied_to_learning_rate,
)
from saner_jax.training import InputFunctions, Optimizer, Preprocessing, standardize


def build_model(options: ModelOptions, dataset: Dataset) -> Any:
    """Build the model that the options name, for the dataset's classes.

    Args:
        options: of the model.
        dataset: as from `load_data`.

    Returns:
        A Flax Linen module.

    Raises:
        ValueError: for options that do not fit the model, and for images that it cannot take.
    """
    model = model_of(options, len(dataset.class_names))
    try:
        _shapes(model, dataset)
    except Exception as error:
        reason = " ".join(str(error).split())
        shape = dataset.train_inputs.shape[1:]
        if len(shape) != 3:
            reason = "it takes images (h, w, channels); model mlp takes features of any shape"
        kind = "images" if dataset.is_images else "features"
        raise ValueError(
            f"model {options.model} cannot take {kind} of {shape}: {reason}"
        ) from error
    return model


def check_pixels(options: ModelOptions, inputs: PixelOptions) -> None:
    """Refuse inputs that a model with weights of another training was not trained on.

    Args:
        options: of the model.
        inputs: how pixels become inputs.

    Raises:
        ValueError: for such a model with other pixels than "pretrained".
    """
    if options.model in FINE_TUNED and inputs.pixels != "pretrained":
        raise ValueError(
            f"pixels must be pretrained for model {options.model}, whose weights were trained on"
            f" such inputs, got {inputs.pixels!r}"
        )


def model_of(options: ModelOptions, num_classes: int) -> Any:
    """Build the model that the options name.

    Args:
        options: of the model.
        num_classes: the number of logits.

    Returns:
        A Flax Linen module.

    Raises:
        ValueError: for options that do not fit the model.
    """
    own = {"hidden_widths": tuple(options.hidden_widths)} if options.model == "mlp" else {}
    return build(
        options.model,
        num_classes,
        norm=options.norm,
        width=options.width,
        dtype=jnp.dtype(options.precision),
        **own,
    )


def perturbed_parameters(
    options: PerturbationOptions, model: Any, dataset: Dataset
) -> MaskDescription:
    """List the parameters of a model that `perturb_mask` selects.

    Args:
        options: of the perturbation.
        model: as from `build_model`.
        dataset: as from `load_data`.

    Returns:
        The description.

    Raises:
        ValueError: if nothing is selected.
    """
    described = describe_mask(MASKS[options.perturb_mask], _shapes(model, dataset))
    if not described.paths:
        raise ValueError(f"perturb_mask {options.perturb_mask} selects nothing in this model")
    return described


def initial_variables(model: Any, dataset: Dataset, seed: int) -> tuple[Any, Any]:
    """Draw a model's initial parameters, and the statistics it keeps beside them.

    Args:
        model: a Flax Linen module.
        dataset: whose images it takes.
        seed: of the run.

    Returns:
        The parameters, and the other collections, `{}` if there are none.
    """
    blank = jnp.zeros((1, *dataset.train_inputs.shape[1:]))
    variables = dict(jax.jit(model.init)(jax.random.key(np.uint32(seed)), blank))
    return variables.pop("params"), variables


def input_functions(
    options: PixelOptions, dataset: Dataset, seed: jax.typing.ArrayLike
) -> InputFunctions:
    """Build the functions from the inputs of examples to those of the model.

    Args:
        options: of the inputs.
        dataset: whose training inputs give the mean and standard deviation of each channel of
            images, or of each feature.
        seed: of the run, for the augmentation.

    Returns:
        The functions for evaluation and for training, which augments images by the number of the
        step.

    Raises:
        ValueError: for augmentation of features.
    """
    if options.pixels == "pretrained" and dataset.is_images:
        of_rank = lambda value: np.full((1,) * dataset.train_inputs.ndim, value, np.float32)
        normalize = Preprocessing(of_rank(PRETRAINED_SHIFT), of_rank(PRETRAINED_SCALE))
    else:
        normalize = standardize(dataset.train_inputs, divide=options.pixels == "standardized")
    if not dataset.is_images:
        for name in ("crop_padding", "flip", "cutout_size"):
            if getattr(options, name):
                raise ValueError(f"{name} is for images, but the examples are features")
        return InputFunctions(normalize, lambda features, _: normalize(features))

    def prepare(images: jax.Array, step: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(jnp.asarray(seed, jnp.uint32)), step)
        images = augment(
            key,
            images,
            crop_padding=options.crop_padding,
            flip=options.flip,
            cutout_size=options.cutout_size,
        )
        return normalize(images)

    return InputFunctions(normalize, prepare)


def build_loss(options: LossOptions, dataset: Dataset) -> LossFn:
    """Build the loss of an example.

    Args:
        options: of the loss.
        dataset: whose training labels, before any noise of the run, give the class weights.

    Returns:
        The loss; the cross-entropy beside an objective.

    Raises:
        ValueError: for smoothing of another loss than the cross-entropy, and for options of the
            loss beside an objective.
    """
    if options.objective != PLAIN:
        defaults = LossOptions()
        for name in ("loss", "label_smoothing", "class_weights"):
            if getattr(options, name) != getattr(defaults, name):
                raise ValueError(f"{name} is for objective plain, got {options.objective}")
        return cross_entropy
    if options.label_smoothing and options.loss != "cross_entropy":
        raise ValueError(f"label_smoothing is for loss cross_entropy, but loss is {options.loss}")
    smooth = options.label_smoothing
    loss = smoothed_cross_entropy(smooth) if smooth else LOSSES[options.loss]()
    if options.class_weights == "none":
        return loss
    weights = balanced_weights(dataset.train_labels, len(dataset.class_names))
    return weigh_classes(loss, weights)


def build_objective(
    options: LossOptions,
    noisy: Sequence[NoisyLabels],
    *,
    num_classes: int,
    epochs: int,
    steps_per_epoch: int,
) -> Objective | None:
    """Build the objective that is trained on.

    Args:
        options: of the objective.
        noisy: the labels of every seed; if some were flipped on purpose, an objective that needs
            the noise rate or the transition matrix gets the mean of those of the seeds.
        num_classes: of the labels.
        epochs: passes over the training set.
        steps_per_epoch: updates per epoch.

    Returns:
        The objective; None for the loss of the labels as given.

    Raises:
        ValueError: for strengths out of range, and for an objective that needs to know what nobody
            knows.
    """
    if options.objective == PLAIN:
        return None
    is_known = any(one.is_flipped.any() for one in noisy)
    known = Known(
        num_classes,
        epochs,
        steps_per_epoch,
        np.mean([one.transition_realized for one in noisy], axis=0) if is_known else None,
        float(np.mean([one.rate for one in noisy])) if is_known else None,
    )
    return build_named_objective(options.objective, options.objective_option, known)


def build_optimizer(
    method: str,
    perturbation: PerturbationOptions,
    optimizer: OptimizerOptions,
    *,
    epochs: int,
    steps_per_epoch: int,
    metrics: bool = False,
    axis_name: str | None = None,
) -> Optimizer:
    """Build the optimizer of one method: the recipe, then the base with its decay and schedule.

    Args:
        method: "sgd" (the base alone), or a key of `saner_jax.RECIPES` except "ncsam".
        perturbation: the options of the recipe.
        optimizer: the options of the base.
        epochs: passes over the training set, at least 1.
        steps_per_epoch: updates per epoch, at least 1.
        metrics: whether the recipe keeps `StepMetrics`.
        axis_name: the axis of the devices if each perturbs by its own examples, see
            `saner_jax.per_device`; None if there is one perturbation.

    Returns:
        The transformation with its schedules. All but that of "sgd" need `params` and `grad_fn`.

    Raises:
        KeyError: for another method.

    Example:
        >>> optimizer = build_optimizer(
        ...     "sgd",
        ...     PerturbationOptions(),
        ...     OptimizerOptions(learning_rate=0.5, weight_decay=0.0),
        ...     epochs=60,
        ...     steps_per_epoch=22,
        ... )
        >>> params = jnp.zeros(1)
        >>> optimizer.tx.update(jnp.ones(1), optimizer.tx.init(params), params)[0].tolist()
        [-0.5]
    """
    learning_rate = _learning_rate(optimizer, epochs, steps_per_epoch)
    decay, momentum = optimizer.weight_decay, optimizer.momentum
    if optimizer.base == "adamw":
        base = optax.adamw(learning_rate, b1=momentum, weight_decay=decay)
    else:
        base = optax.chain(
            optax.add_decayed_weights(decay), optax.sgd(learning_rate, momentum=momentum)
        )
    alpha, strengths = optax.constant_schedule(0.0), {}
    average = lambda recipe: recipe if axis_name is None else per_device(recipe, axis_name)
    if method == "sgd":
        tx = optax.chain(average(optax.identity()), base)
        return Optimizer(base if axis_name is None else tx, learning_rate, 0.0, alpha)
    # GSAM has an alpha of its own, with another meaning.
    if method.endswith("saner"):
        alpha = alpha_warmup(
            perturbation.alpha,
            warmup_epochs=perturbation.alpha_warmup_fraction * epochs,
            steps_per_epoch=steps_per_epoch,
        )
        strengths = {"alpha": alpha}
    if method == "ae_sam":
        strengths = {"num_steps": epochs * steps_per_epoch}
    strengths |= read_recipe_options(method, perturbation.method_option)
    rho = _radius(perturbation, optimizer, learning_rate, epochs * steps_per_epoch)
    mask = MASKS[perturbation.perturb_mask]
    recipe = RECIPES[method](rho, perturb_mask=mask, metrics=metrics, **strengths)
    return Optimizer(optax.chain(average(recipe), base), learning_rate, rho, alpha)


def _radius(
    perturbation: PerturbationOptions,
    optimizer: OptimizerOptions,
    learning_rate: optax.Schedule,
    num_steps: int,
) -> float | optax.Schedule:
    """Return the radius: a number where it is constant, so that checks see it."""
    rho, warmup_steps = perturbation.rho, round(perturbation.rho_warmup_fraction * num_steps)
    if perturbation.rho_schedule == "constant":
        if not warmup_steps:
            return rho
        return optax.linear_schedule(0.0, rho, warmup_steps)
    tied = rho_tied_to_learning_rate(learning_rate, rho, learning_rate_max=optimizer.learning_rate)
    if not warmup_steps:
        return tied
    rise = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return lambda count: rise(count) * tied(count)


def _learning_rate(
    optimizer: OptimizerOptions, epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    peak, total = optimizer.learning_rate, epochs * steps_per_epoch
    warmup = round(optimizer.warmup_epochs * steps_per_epoch)
    after: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(total - warmup, 1)),
        "multistep": lambda: optax.piecewise_constant_schedule(
            # As lr_scheduler.MultiStepLR in the papers' code: whole epochs, counted from the start.
            peak,
            {int(share * epochs) * steps_per_epoch - warmup: 0.1 for share in (0.5, 0.75)},
        ),
    }
    schedule = after[optimizer.schedule]()
    if warmup:
        schedule = optax.join_schedules(
            [optax.linear_schedule(0.0, peak, warmup), schedule], [warmup]
        )
    # Cast, since schedules compare their integer count with floats.
    return lambda count: schedule(jnp.asarray(count, jnp.float32))


def _shapes(model: Any, dataset: Dataset) -> Any:
    """Return the shapes of a model's parameters, without computing them."""
    blank = jax.ShapeDtypeStruct((1, *dataset.train_inputs.shape[1:]), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), blank)["params"]
