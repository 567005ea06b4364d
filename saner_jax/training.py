"""Train and evaluate a classifier: pure functions of arrays, for any model and transformation.

Nothing here compiles, logs or draws random numbers inside a step, so callers are free to wrap the
functions in `jax.jit`, to `jax.vmap` them over seeds, or to dispatch them one by one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

Apply = Callable[[Any, jax.Array], jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]


class TrainState(NamedTuple):
    """Hold all that one step hands to the next.

    Attributes:
        params: the model's parameters, any pytree of arrays.
        opt_state: the state of the transformation.
    """

    params: Any
    opt_state: optax.OptState


TrainStep = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, jax.Array]]


def init_state(params: Any, tx: optax.GradientTransformation) -> TrainState:
    """Pair parameters with a fresh state of the transformation.

    Args:
        params: any pytree of arrays.
        tx: the transformation that will update them.

    Returns:
        The state before the first step.

    Example:
        >>> init_state(jnp.zeros(2), optax.sgd(0.1)).params.shape
        (2,)
    """
    return TrainState(params, tx.init(params))


def make_train_step(apply: Apply, loss: Loss, tx: optax.GradientTransformation) -> TrainStep:
    """Build the function that takes one step on one minibatch.

    The minibatch's mean loss is differentiated at the parameters, and its gradient function is
    handed to `tx` as `grad_fn`, so that SAM and its kin can differentiate it elsewhere on the
    same examples; transformations that do not ask for it never see it.

    Args:
        apply: parameters and inputs `(n, ...)` to logits `(n, c)`.
        loss: logits and labels to one loss per example, `(n,)`.
        tx: an Optax transformation, with or without extra arguments.

    Returns:
        A function of a state, inputs `(n, ...)` and labels `(n,)`, that returns the next state
        and the mean loss before the step, a scalar. Nothing raises on a non-finite loss: it
        passes through.

    Example:
        >>> step = make_train_step(lambda w, x: x * w, lambda logits, y: (logits - y) ** 2,
        ...                        optax.sgd(0.25))
        >>> state = init_state(jnp.array(0.0), optax.sgd(0.25))
        >>> state, value = step(state, jnp.ones(4), jnp.ones(4))
        >>> float(state.params), float(value)
        (0.5, 1.0)
    """
    update = optax.with_extra_args_support(tx).update

    def step(
        state: TrainState, inputs: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def batch_loss(params: Any) -> jax.Array:
            return jnp.mean(loss(apply(params, inputs), labels))

        value, grads = jax.value_and_grad(batch_loss)(state.params)
        updates, opt_state = update(
            grads, state.opt_state, state.params, grad_fn=jax.grad(batch_loss)
        )
        return TrainState(optax.apply_updates(state.params, updates), opt_state), value

    return step


def run_epoch(
    step: TrainStep, state: TrainState, inputs: jax.Array, labels: jax.Array, order: jax.Array
) -> tuple[TrainState, jax.Array]:
    """Take one step per row of `order`, as one `jax.lax.scan`.

    Args:
        step: as built by `make_train_step`.
        state: the state to start from.
        inputs: all training inputs, `(n, ...)`.
        labels: their labels, `(n,)`.
        order: int32 `(num_steps, batch_size)`, the examples of each minibatch.

    Returns:
        The state after the last step, and the loss of every minibatch before its step,
        `(num_steps,)`.

    Limits: on CPU, XLA runs the gradient of a convolution tens of times slower inside a scan
    (jax-ml/jax#12868); dispatch convolutional models step by step there. Dense models gain from
    the scan.

    Example:
        >>> step = make_train_step(lambda w, x: x * w, lambda logits, y: (logits - y) ** 2,
        ...                        optax.sgd(0.25))
        >>> state = init_state(jnp.array(0.0), optax.sgd(0.25))
        >>> order = jnp.array([[0, 1], [1, 0]])
        >>> _, losses = run_epoch(step, state, jnp.ones(2), jnp.ones(2), order)
        >>> losses.tolist()
        [1.0, 0.25]
    """
    return jax.lax.scan(lambda state, rows: step(state, inputs[rows], labels[rows]), state, order)


def batch_order(num_examples: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Shuffle the examples of one epoch into minibatches.

    A pure function of the seed and the epoch, so that methods can share an order and a run can
    resume without a stored random state. The examples left over by the last whole minibatch sit
    the epoch out.

    Args:
        num_examples: size of the training set, at least `batch_size`.
        batch_size: examples per minibatch, at least 1.
        seed: of the run, at least 0.
        epoch: counted from 0.

    Returns:
        int32 `(num_examples // batch_size, batch_size)`, without repetition.

    Raises:
        ValueError: for a batch size outside [1, num_examples].

    Example:
        >>> batch_order(7, 3, seed=0, epoch=0).shape
        (2, 3)
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(f"batch_size must lie in [1, {num_examples}], not {batch_size!r}")
    # A spawn key keeps these draws apart from those of `default_rng(seed)`, which noise uses.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    num_steps = num_examples // batch_size
    rows = rng.permutation(num_examples)[: num_steps * batch_size]
    return rows.astype(np.int32).reshape(num_steps, batch_size)


class Counts(NamedTuple):
    """Count predictions on labels of which some are wrong; int32 scalars, additive over batches.

    Attributes:
        examples: how many examples were seen.
        correct: predicted as their true class.
        flipped: examples whose label is not their true class.
        memorised: flipped examples predicted as their wrong label.
        corrected: flipped examples predicted as their true class.
        clean_fit: unflipped examples predicted as their label.
    """

    examples: jax.Array
    correct: jax.Array
    flipped: jax.Array
    memorised: jax.Array
    corrected: jax.Array
    clean_fit: jax.Array


class Shares(NamedTuple):
    """Hold the shares that `Counts` imply, float64 in [0, 1], NaN where nothing was counted.

    Attributes:
        accuracy: share of all examples predicted as their true class.
        memorised: share of the flipped examples predicted as their wrong label.
        corrected: share of the flipped examples predicted as their true class.
        clean_fit: share of the unflipped examples predicted as their label.
    """

    accuracy: NDArray[np.float64]
    memorised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    clean_fit: NDArray[np.float64]


def evaluate(
    apply: Apply, params: Any, inputs: jax.Array, labels: jax.Array, true_labels: jax.Array
) -> Counts:
    """Count what a model predicts on labels of which some may be wrong.

    Where all labels are right, pass them twice: then nothing is flipped, and `correct` is the
    ordinary count.

    Args:
        apply: parameters and inputs `(n, ...)` to logits `(n, c)`.
        params: the parameters to evaluate.
        inputs: `(n, ...)`, seen in one pass; for large sets add the counts of several calls.
        labels: integers `(n,)`, as given in training.
        true_labels: integers `(n,)`, as they should be.

    Returns:
        The counts. A tie goes to the lowest class, and so does a row of NaN.

    Example:
        >>> logits = jnp.eye(3)
        >>> counts = evaluate(lambda params, inputs: inputs, None, logits,
        ...                   jnp.array([0, 1, 0]), jnp.array([0, 2, 2]))
        >>> counts.flipped.item(), counts.memorised.item(), counts.corrected.item()
        (2, 1, 1)
    """
    predicted = jnp.argmax(apply(params, inputs), axis=-1)
    is_flipped = labels != true_labels
    count = lambda mask: jnp.sum(mask, dtype=jnp.int32)
    return Counts(
        examples=jnp.full((), labels.shape[0], jnp.int32),
        correct=count(predicted == true_labels),
        flipped=count(is_flipped),
        memorised=count(is_flipped & (predicted == labels)),
        corrected=count(is_flipped & (predicted == true_labels)),
        clean_fit=count(~is_flipped & (predicted == labels)),
    )


def shares(counts: Counts) -> Shares:
    """Turn counts into shares, on the host.

    Args:
        counts: scalars, or arrays of one shape, such as one entry per seed.

    Returns:
        Arrays of that shape; NaN where the group is empty.

    Example:
        >>> shares(Counts(10, 8, 4, 1, 3, 5)).memorised.item()
        0.25
    """
    examples, correct, flipped, memorised, corrected, clean_fit = (
        np.asarray(leaf, np.float64) for leaf in counts
    )
    with np.errstate(invalid="ignore"):
        return Shares(
            accuracy=correct / examples,
            memorised=memorised / flipped,
            corrected=corrected / flipped,
            clean_fit=clean_fit / (examples - flipped),
        )
