"""Schedules of the papers that Optax does not have: SANER's warm-up, GSAM's tied radius.

Both return a schedule of the update count, and raise ``ValueError`` or ``TypeError`` at once for
values out of range.
"""

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._arguments import check_whole
from saner_jax._core._strengths import check_strength


def alpha_warmup(alpha: float, *, warmup_epochs: float, steps_per_epoch: int) -> optax.Schedule:
    r"""Raise SANER's strength linearly from 0 to ``alpha``, then hold it.

    .. math:: \alpha_t = \alpha \min(t / (k s), 1)

    t: updates so far; k: ``warmup_epochs``; s: ``steps_per_epoch``.

    Args:
        alpha: final strength, 0 to 1.
        warmup_epochs: length of the rise in epochs, at least 0; fractions allowed; 0 starts at
            ``alpha``. The paper's value is 50 of 200.
        steps_per_epoch: updates in an epoch, at least 1.

    Returns:
        A schedule: the updates so far to the strength, for ``alpha`` of the recipes.

    Raises:
        ValueError: for numbers out of range.
        TypeError: for other things, and steps that are no whole number.

    Example:
        >>> schedule = alpha_warmup(0.5, warmup_epochs=2, steps_per_epoch=10)
        >>> [float(schedule(count)) for count in (0, 10, 20, 30)]
        [0.0, 0.25, 0.5, 0.5]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 (k = 50).

    Differences:
        1. The authors' code raises the strength once per epoch, from alpha / k in the first one;
           here it rises with every update, from exactly 0.
    """
    check_strength("alpha_warmup", "alpha", alpha, upper=1.0, meaning="the final strength")
    check_strength("alpha_warmup", "warmup_epochs", warmup_epochs, meaning="0 starts at alpha")
    check_whole("alpha_warmup", "steps_per_epoch", steps_per_epoch)
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if warmup_steps == 0:
        return optax.constant_schedule(alpha)
    return optax.linear_schedule(0.0, alpha, warmup_steps)


def rho_tied_to_learning_rate(
    learning_rate: optax.Schedule,
    rho_max: float,
    *,
    learning_rate_max: float,
    rho_min: float = 0.0,
    learning_rate_min: float = 0.0,
) -> optax.Schedule:
    r"""Let the radius follow the learning rate: GSAM's schedule.

    .. math:: \rho_t = \max\left(0,\; \rho_{\min} + (\rho_{\max} - \rho_{\min})
        \frac{\eta_t - \eta_{\min}}{\eta_{\max} - \eta_{\min}}\right)

    eta_t: ``learning_rate`` at update t; the bounds carry the names of the arguments.

    Args:
        learning_rate: the base optimizer's schedule, itself and not a multiplier of it.
        rho_max: radius at ``learning_rate_max``, at least 0.
        learning_rate_max: largest learning rate of the schedule.
        rho_min: radius at ``learning_rate_min``, at least 0.
        learning_rate_min: smallest learning rate of the schedule.

    Returns:
        A schedule: the updates so far to the radius, for ``rho`` of the recipes.

    Raises:
        ValueError: for numbers out of range, or bounds of the learning rate in the wrong order.
        TypeError: for other things, and a learning rate that is no schedule.

    Limits:
        Never negative, though the line is below zero in a learning-rate warm-up that starts below
        ``learning_rate_min``. Equal learning-rate bounds give ``rho_max`` throughout.

    Example:
        >>> import optax
        >>> learning_rate = optax.cosine_decay_schedule(0.1, decay_steps=100)
        >>> rho = rho_tied_to_learning_rate(learning_rate, 0.04, learning_rate_max=0.1)
        >>> [round(float(rho(count)), 6) for count in (0, 50, 100)]
        [0.04, 0.02, 0.0]

    Source:
        Zhuang et al., ICLR 2022, arXiv 2203.08065, section 4; google-research/big_vision
        trainers/proj/gsam @0127fb6.

    Differences:
        1. big_vision lets the radius go negative in warm-up; here it stops at 0.
    """
    name = "rho_tied_to_learning_rate"
    if not callable(learning_rate):
        raise TypeError(f"{name}: learning_rate must be a schedule, got {learning_rate!r}.")
    bounds = (rho_max, rho_min, learning_rate_max, learning_rate_min)
    arguments = ("rho_max", "rho_min", "learning_rate_max", "learning_rate_min")
    for argument, value in zip(arguments, bounds, strict=True):
        check_strength(name, argument, value, meaning="a bound of the line")
    if learning_rate_max < learning_rate_min:
        raise ValueError(
            f"{name}: learning_rate_max must not be below learning_rate_min, got "
            f"{learning_rate_max:g} and {learning_rate_min:g}."
        )
    if learning_rate_max == learning_rate_min:
        return optax.constant_schedule(rho_max)
    slope = (rho_max - rho_min) / (learning_rate_max - learning_rate_min)

    def rho(count: jax.typing.ArrayLike) -> jax.Array:
        return jnp.maximum(rho_min + slope * (learning_rate(count) - learning_rate_min), 0.0)

    return rho


def smooth_ramp(kappa: float, *, num_epochs: float, steps_per_epoch: float) -> optax.Schedule:
    r"""Raise NCSAM's strength smoothly from 0 to ``kappa``, reached half-way, then hold it.

    .. math:: s_t = \kappa \min(1, 2 (3 - 2 t) t^2)

    t: share of the training done, the updates so far over ``num_epochs * steps_per_epoch``.

    Args:
        kappa: final strength, at least 0.
        num_epochs: length of the training, above 0; the paper's value is 200.
        steps_per_epoch: updates in an epoch, above 0.

    Returns:
        A schedule: the updates so far to the strength, for ``kappa`` of :func:`ncsam`.

    Raises:
        ValueError: for numbers out of range.
        TypeError: for other things.

    Limits:
        Holds ``kappa`` when the training goes on beyond its end.

    Example:
        >>> schedule = smooth_ramp(0.1, num_epochs=10, steps_per_epoch=10)
        >>> [round(float(schedule(count)), 4) for count in (0, 25, 50, 100, 1000)]
        [0.0, 0.0312, 0.1, 0.1, 0.1]

    Source:
        Xu et al. 2026, arXiv 2601.19947.

    Differences:
        1. The authors' code raises the strength once per epoch; here it rises with every update.
    """
    check_strength("smooth_ramp", "kappa", kappa, meaning="the final strength")
    for argument, value in (("num_epochs", num_epochs), ("steps_per_epoch", steps_per_epoch)):
        check_strength("smooth_ramp", argument, value, meaning="above 0")
        if not value > 0:
            raise ValueError(f"smooth_ramp: {argument} must be above 0, got {value:g}.")
    num_steps = num_epochs * steps_per_epoch

    def ramp(count: jax.typing.ArrayLike) -> jax.Array:
        # Beyond the end of the training the cubic falls again.
        t = jnp.minimum(jnp.asarray(count, float) / num_steps, 1.0)
        return kappa * jnp.minimum(2 * (3 - 2 * t) * t**2, 1.0)

    return ramp
