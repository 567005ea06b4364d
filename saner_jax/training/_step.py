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

from saner_jax._core._exporting import exportable
from saner_jax.models import Forward
from saner_jax.step import StepMetrics, kept_metrics, value_and_update

Loss = Callable[[Any, jax.Array], jax.Array]
Prepare = Callable[[jax.Array, jax.Array], jax.Array]

STATISTICS = ("origin", "perturbed")
"""Which pass of a step the running statistics of normalization layers may come from."""


@exportable
class TrainState(NamedTuple):
    """The state between two steps.

    Attributes:
        params: the model's parameters, any pytree of arrays.
        statistics: the arrays that the model keeps beside them, such as the running statistics of
            batch normalization; `{}` where it keeps nothing.
        opt_state: the state of the transformation.
        step: int32 scalar, the steps taken so far.
    """

    params: Any
    statistics: Any
    opt_state: optax.OptState
    step: jax.Array


@exportable
class StepRecord(NamedTuple):
    """The measurements of one step.

    Attributes:
        loss: mean loss of the minibatch before the step, a scalar.
        metrics: the `StepMetrics` that the transformation keeps, or `()` where it keeps none.
    """

    loss: jax.Array
    metrics: StepMetrics | tuple[()]


TrainStep = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, StepRecord]]


def init_state(params: Any, tx: optax.GradientTransformation, statistics: Any = None) -> TrainState:
    """Pair parameters and statistics with a fresh state of the transformation.

    Args:
        params: any pytree of arrays.
        tx: the transformation that will update them.
        statistics: the arrays that the model keeps beside them; None is `{}`.

    Returns:
        The state before the first step.

    Example:
        >>> init_state(jnp.zeros(2), optax.sgd(0.1)).params.shape
        (2,)
    """
    statistics = {} if statistics is None else statistics
    return TrainState(params, statistics, tx.init(params), jnp.zeros((), jnp.int32))


def make_train_step(
    forward: Forward,
    loss: Loss,
    tx: optax.GradientTransformation,
    *,
    statistics_from: str = "origin",
    axis_name: str | None = None,
) -> TrainStep:
    """Build the function that takes one step on one minibatch.

    The minibatch's mean loss is differentiated at the parameters, and its gradient function is
    handed to `tx` as `grad_fn`, so that SAM and its kin can differentiate it elsewhere on the
    same examples; transformations that do not ask for it never see it. Both passes normalize by
    the minibatch; the running statistics move once a step, whatever `tx` is.

    Args:
        forward: the model.
        loss: logits and labels to one loss per example, `(n,)`.
        tx: an Optax transformation, with or without extra arguments.
        statistics_from: the pass whose statistics are kept. "origin": the one at the parameters,
            as in ordinary training. "perturbed": the one at the perturbed parameters, as in the
            code of SANER's authors; the one at the parameters on steps without a second pass.
        axis_name: of the devices, where the step is one device's part of a `jax.shard_map`: `tx`
            then gets gradients on this device's examples alone and must average what comes out, as
            `saner_jax.per_device` does; batch normalization sees them alone too, and loss and
            running statistics are averaged here. None: the step is the whole.

    Returns:
        A function of a state, inputs `(n, ...)` and labels `(n,)`, that returns the next state
        and the step's record. Nothing raises on a non-finite loss: it passes through.

    Raises:
        ValueError: for another `statistics_from`.

    Example:
        >>> forward = lambda w, statistics, x, train: (x * w, statistics)
        >>> tx = optax.sgd(0.25)
        >>> step = make_train_step(forward, lambda logits, y: (logits - y) ** 2, tx)
        >>> state, record = step(init_state(jnp.array(0.0), tx), jnp.ones(4), jnp.ones(4))
        >>> float(state.params), float(record.loss)
        (0.5, 1.0)

    Source:
        Which pass peers keep differs: davda54/sam the first, lhchau/saner @07fd303 the second and
        one more at the new parameters, which is left out here.
    """
    if statistics_from not in STATISTICS:
        raise ValueError(
            f"statistics_from must be one of {', '.join(STATISTICS)}, got {statistics_from!r}"
        )

    def step(
        state: TrainState, inputs: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, StepRecord]:
        def batch_loss(params: Any) -> tuple[jax.Array, Any]:
            logits, statistics = forward(params, state.statistics, inputs, train=True)
            return jnp.mean(loss(logits, labels)), statistics

        done = value_and_update(
            tx, batch_loss, state.params, state.opt_state, has_aux=True, axis_name=axis_name
        )
        origin, perturbed = done.origin, done.perturbed
        if axis_name is not None:
            origin = _mean_of(origin, axis_name)
            # That of a second pass is the mean over the devices already.
            perturbed = origin if done.perturbed is done.origin else perturbed
        statistics = (perturbed if statistics_from == "perturbed" else origin).aux
        params = optax.apply_updates(state.params, done.updates)
        metrics = next(iter(kept_metrics(done.state)), ())
        next_state = TrainState(params, statistics, done.state, state.step + 1)
        return next_state, StepRecord(origin.value, metrics)

    return step


def _mean_of(tree: Any, axis_name: str) -> Any:
    """Average the numbers of a tree over devices; counts and keys are the same on all."""
    is_number = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    mean = lambda leaf: jax.lax.pmean(leaf, axis_name) if is_number(leaf) else leaf
    return jax.tree.map(mean, tree)


def run_steps(
    step: TrainStep,
    state: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    order: jax.Array | None,
    prepare: Prepare = lambda inputs, _: inputs,
) -> tuple[TrainState, StepRecord]:
    """Take one step per minibatch: a `jax.lax.scan`, or no loop at all for a single row.

    Args:
        step: as built by `make_train_step`.
        state: the state to start from.
        inputs: all training inputs, `(n, ...)`.
        labels: their labels, `(n,)`.
        order: int32 `(num_steps, batch_size)`, the examples of each minibatch. None: `inputs` and
            `labels` are the minibatches, `(num_steps, batch_size, ...)`.
        prepare: minibatch of inputs and number of the step to the model's inputs: augmentation
            and normalization, once a step and so the same for every pass of it.

    Returns:
        The state after the last step, and the records of all, `(num_steps,)` each.

    Limits: on CPU, XLA runs the gradient of a convolution tens of times slower inside a scan
    (jax-ml/jax#12868); dispatch convolutional models step by step there. Dense models gain from
    the scan.

    Example:
        >>> forward = lambda w, statistics, x, train: (x * w, statistics)
        >>> tx = optax.sgd(0.25)
        >>> step = make_train_step(forward, lambda logits, y: (logits - y) ** 2, tx)
        >>> order = jnp.array([[0, 1], [1, 0]])
        >>> state = init_state(jnp.array(0.0), tx)
        >>> run_steps(step, state, jnp.ones(2), jnp.ones(2), order)[1].loss.tolist()
        [1.0, 0.25]
    """

    def one(state: TrainState, batch: Any) -> tuple[TrainState, StepRecord]:
        examples, their_labels = batch if order is None else (inputs[batch], labels[batch])
        return step(state, prepare(examples, state.step), their_labels)

    batches = (inputs, labels) if order is None else order
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
