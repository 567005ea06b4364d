"""Linear classifiers on small two-class data with wrong labels, with a record of every step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from saner_jax.step import StepMetrics, kept_metrics


class TwoClasses(NamedTuple):
    """A data set of `n` examples of two classes.

    Attributes:
        inputs: float64 `(n, d)`.
        labels: int32 `(n,)`, the given labels, 0 or 1.
        true_labels: int32 `(n,)`, the true labels, 0 or 1.
    """

    inputs: NDArray[np.float64]
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]


class Trajectory(NamedTuple):
    """The parameters and metrics of every step of a training run.

    Attributes:
        params: `(num_steps + 1, d)`; the first row is the start.
        metrics: the recipe's metrics, with arrays `(num_steps,)`; `()` without metrics.
    """

    params: NDArray[np.float64]
    metrics: StepMetrics | tuple[()]


def two_gaussians(num_examples: int = 200, rate: float = 0.3, seed: int = 42) -> TwoClasses:
    """Draw two Gaussian classes with unit covariance, and flip a share of the labels.

    Class 0 has the mean (2, 2), class 1 the mean (-2, -2).

    Args:
        num_examples: number of examples; each class has half of them, rounded down.
        rate: share of the labels to flip, from 0 to 1.
        seed: seed of the random numbers, in [0, 2**32).

    Returns:
        The examples; inputs are rounded to float32.

    Example:
        >>> toy = two_gaussians()
        >>> toy.inputs.shape, int((toy.labels != toy.true_labels).sum())
        ((200, 2), 60)

    Source:
        The toy example of SANER's authors (visualize_toy_example.py, July 2025). The random
        numbers are drawn in the same order, so the defaults give the authors' data.
    """
    rng = np.random.RandomState(seed)
    half = num_examples // 2
    draw = lambda: np.concatenate(
        [rng.multivariate_normal(sign * np.full(2, 2.0), np.eye(2), half) for sign in (1, -1)]
    )
    # The authors first draw a set without noise, which changes the state of the generator.
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
    """Train a linear classifier without bias by full-batch gradient descent, in float64.

    Args:
        recipe: `optax.identity()` for gradient descent, or a recipe of `saner_jax`; with
            `metrics=True` its metrics are recorded.
        examples: the training data.
        start: `(d,)`, the parameters before the first step.
        learning_rate: the learning rate of gradient descent.
        num_steps: number of steps.

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
    # 64-bit precision only for this call, for any setting of the caller.
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
            return (params, state), (params, next(iter(kept_metrics(state)), ()))

        run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=num_steps)[1])
        path, metrics = jax.device_get(run((params, tx.init(params))))
    return Trajectory(np.concatenate([np.asarray(start, np.float64)[None], path]), metrics)


def _batch_loss(params: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean logistic loss of the logits `inputs @ params`."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(inputs @ params, labels))
