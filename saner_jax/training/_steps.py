"""Take the steps of an epoch, on examples in an order that the seed gives."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from saner_jax.training._states import StepRecord, TrainState, TrainStep

Prepare = Callable[[jax.Array, jax.Array], jax.Array]
"""Map the images of a minibatch and the number of the step to the inputs of the model."""


def run_steps(
    step: TrainStep,
    state: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    order: jax.Array | None,
    prepare: Prepare = lambda inputs, _: inputs,
    *,
    rows: Any = (),
    true_labels: Any = (),
) -> tuple[TrainState, StepRecord]:
    """Take one step per minibatch: a `jax.lax.scan`, or no loop at all for a single row.

    Args:
        step: as built by `make_train_step`.
        state: the state to start from.
        inputs: all training inputs, `(n, ...)`.
        labels: their labels, `(n,)`.
        order: int32 `(num_steps, batch_size)`, the examples of each minibatch. None: `inputs`,
            `labels` and `true_labels` are the minibatches, `(num_steps, batch_size, ...)`.
        prepare: minibatch of inputs and number of the step to the model's inputs: augmentation
            and normalization, once a step and so the same for every pass of it.
        rows: without `order`, the positions of the examples, int32 `(num_steps, batch_size)`.
        true_labels: as `labels`, for the record of the supervision.

    Returns:
        The state after the last step, and the records of all, `(num_steps,)` each.

    Limits: on CPU, XLA runs the gradient of a convolution tens of times slower inside a scan
    (jax-ml/jax#12868); dispatch convolutional models step by step there. Dense models gain from
    the scan.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from saner_jax.training import init_state, make_train_step
        >>> forward = lambda w, statistics, x, train: (x * w, statistics)
        >>> tx = optax.sgd(0.25)
        >>> step = make_train_step(forward, lambda logits, y: (logits - y) ** 2, tx)
        >>> order = jnp.array([[0, 1], [1, 0]])
        >>> state = init_state(jnp.array(0.0), tx)
        >>> run_steps(step, state, jnp.ones(2), jnp.ones(2), order)[1].loss.tolist()
        [1.0, 0.25]
    """

    def one(state: TrainState, chosen: Any) -> tuple[TrainState, StepRecord]:
        if order is None:
            examples, their_labels, their_rows, truth = chosen
        else:
            gathered = jax.tree.map(lambda leaf: leaf[chosen], (inputs, labels, true_labels))
            (examples, their_labels, truth), their_rows = gathered, chosen
        return step(state, prepare(examples, state.step), their_labels, their_rows, truth)

    batches = (inputs, labels, rows, true_labels) if order is None else order
    if jax.tree.leaves(batches)[0].shape[0] == 1:
        state, record = one(state, jax.tree.map(lambda leaf: leaf[0], batches))
        return state, jax.tree.map(lambda leaf: leaf[None], record)
    return jax.lax.scan(one, state, batches)


def batch_order(num_examples: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Shuffle the examples of one epoch into minibatches.

    The order depends on the seed and the epoch alone. Methods can therefore share an order, and a
    run can resume without a stored random state. Examples that do not fill a minibatch are left out
    for the epoch.

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
        raise ValueError(f"batch_size must lie in [1, {num_examples}], got {batch_size!r}")
    # A spawn key keeps these draws apart from those of `default_rng(seed)`, which noise uses.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    num_steps = num_examples // batch_size
    rows = rng.permutation(num_examples)[: num_steps * batch_size]
    return rows.astype(np.int32).reshape(num_steps, batch_size)
