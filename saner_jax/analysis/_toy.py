"""Linear classifiers of two classes with wrong labels, small enough to watch every step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from saner_jax.step import StepMetrics, metrics_in


class TwoClasses(NamedTuple):
    """Hold `n` examples of two classes.

    Attributes:
        inputs: float64 `(n, d)`.
        labels: given labels, 0 or 1, `(n,)`.
        true_labels: what they should be, `(n,)`.
    """

    inputs: NDArray[np.float64]
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]


class Trajectory(NamedTuple):
    """Hold what happened on the way.

    Attributes:
        params: `(num_steps + 1, d)`, the first before any step.
        metrics: of every step, `(num_steps,)` each, or `()` for SGD.
    """

    params: NDArray[np.float64]
    metrics: StepMetrics | tuple[()]


def two_gaussians(num_examples: int = 200, rate: float = 0.3, seed: int = 42) -> TwoClasses:
    """Draw two Gaussians around (2, 2), class 0, and (-2, -2), class 1, and flip some labels.

    Args:
        num_examples: of both together; each class has half of them, rounded down.
        rate: share of the labels to flip, from 0 to 1.
        seed: of the draw, at least 0.

    Returns:
        The examples, with features of float32 precision.

    Example:
        >>> toy = two_gaussians()
        >>> toy.inputs.shape, int((toy.labels != toy.true_labels).sum())
        ((200, 2), 60)

    Source:
        The toy example of SANER's authors (visualize_toy_example.py, July 2025), drawn in their
        order of random numbers, so that the default is their data.
    """
    rng = np.random.RandomState(seed)
    half = num_examples // 2
    draw = lambda: np.concatenate(
        [rng.multivariate_normal(sign * np.full(2, 2.0), np.eye(2), half) for sign in (1, -1)]
    )
    # The authors draw a set without noise first.
    draw()
    inputs = draw().astype(np.float32).astype(np.float64)
    true_labels = np.repeat(np.arange(2, dtype=np.int32), half)
    flipped = rng.choice(2 * half, int(rate * 2 * half), replace=False)
    labels = true_labels.copy()
    labels[flipped] = 1 - labels[flipped]
    return TwoClasses(inputs, labels, true_labels)


def descend(
    recipe: optax.GradientTransformation,
    examples: TwoClasses,
    start: Any,
    *,
    learning_rate: float,
    num_steps: int,
) -> Trajectory:
    """Train the linear classifier without bias on all examples at once, in float64.

    Args:
        recipe: `optax.identity()` for SGD, or a recipe of `saner_jax`; with `metrics=True` its
            metrics are kept.
        examples: what to train on.
        start: `(d,)`, the parameters before the first step.
        learning_rate: of plain gradient descent.
        num_steps: how many steps.

    Returns:
        The trajectory.

    Example:
        >>> import saner_jax
        >>> examples = two_gaussians()
        >>> path = descend(saner_jax.saner(3.0, alpha=0.9), examples, (-8.0, -2.0),
        ...                learning_rate=1.0, num_steps=20)
        >>> path.params[-1].round(4).tolist()
        [-2.3972, 1.5928]
    """
    # Sixty-four bits for this call alone, whatever the caller's setting.
    with jax.enable_x64(True):
        tx = optax.with_extra_args_support(optax.chain(recipe, optax.sgd(learning_rate)))
        inputs = jnp.asarray(examples.inputs, jnp.float64)
        labels = jnp.asarray(examples.labels, jnp.float64)
        grad_fn = lambda params: jax.grad(_batch_loss)(params, inputs, labels)
        params = jnp.asarray(start, jnp.float64)

        def step(carry: Any, _: None) -> Any:
            params, state = carry
            updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, metrics_in(state))

        run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=num_steps)[1])
        path, metrics = jax.device_get(run((params, tx.init(params))))
    return Trajectory(np.concatenate([np.asarray(start, np.float64)[None], path]), metrics)


def _batch_loss(params: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Average the logistic loss of logits `inputs @ params`."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(inputs @ params, labels))
