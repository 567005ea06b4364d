"""The state between two steps, and what a step takes and returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from saner_jax._core._exporting import exportable
from saner_jax.objectives import Memory, Objective
from saner_jax.step import StepMetrics


@exportable
class TrainState(NamedTuple):
    """The state between two steps.

    Attributes:
        params: the model's parameters, any pytree of arrays.
        statistics: the arrays that the model keeps beside them, such as the running statistics of
            batch normalization; `{}` where it keeps nothing.
        opt_state: the state of the transformation.
        step: int32 scalar, the steps taken so far.
        memory: what the objective keeps of every training example.

    Of two networks, every attribute but `step` is a pair.
    """

    params: Any
    statistics: Any
    opt_state: optax.OptState
    step: jax.Array
    memory: Any = Memory()


@exportable
class Told(NamedTuple):
    """How an objective supervised one minibatch.

    Attributes:
        mean_weight: mean of the sample weights, a scalar.
        right_targets: the share of the weighted targets that is on the true class, a scalar; the
            precision of what is told. NaN where all weights are 0.
    """

    mean_weight: jax.Array
    right_targets: jax.Array


@exportable
class StepRecord(NamedTuple):
    """The measurements of one step.

    Attributes:
        loss: mean loss of the minibatch before the step, a scalar.
        metrics: the `StepMetrics` that the transformation keeps, or `()` where it keeps none.
        supervision: what was told of the minibatch, or `()` where labels were taken as given.

    Of two networks, these are the means of both.
    """

    loss: jax.Array
    metrics: StepMetrics | tuple[()]
    supervision: Told | tuple[()] = ()


TrainStep = Callable[..., tuple[TrainState, StepRecord]]
"""A state, inputs `(b, ...)` and labels `(b,)`, and on request the positions `(b,)` of the examples
among all of them and their true labels, to the next state and a record."""


def init_state(
    params: Any,
    tx: optax.GradientTransformation,
    statistics: Any = None,
    memory: Memory | None = None,
) -> TrainState:
    """Pair parameters and statistics with a fresh state of the transformation.

    Args:
        params: any pytree of arrays.
        tx: the transformation that will update them.
        statistics: the arrays that the model keeps beside them; None is `{}`.
        memory: of the objective, as from its `init`; None is empty.

    Returns:
        The state before the first step.

    Example:
        >>> init_state(jnp.zeros(2), optax.sgd(0.1)).params.shape
        (2,)
    """
    statistics = {} if statistics is None else statistics
    return TrainState(
        params, statistics, tx.init(params), jnp.zeros((), jnp.int32), memory or Memory()
    )


def init_networks(
    variables: Callable[[int], tuple[Any, Any]],
    tx: optax.GradientTransformation,
    objective: Objective | None,
    labels: Any,
    num_classes: int,
    *,
    seed: Any,
) -> TrainState:
    """Return the state before the first step, of one network or two.

    Args:
        variables: a seed to initial parameters and statistics.
        tx: the transformation that will update them.
        objective: of the training; None for a loss.
        labels: `(n,)`, of all training examples.
        num_classes: the number of logits.
        seed: of the network; a peer gets another one.

    Returns:
        The state, with the objective's memory.
    """

    def make(seed: Any) -> TrainState:
        params, statistics = variables(seed)
        memory = None if objective is None else objective.init(labels, num_classes)
        return init_state(params, tx, statistics, memory)

    if objective is None or objective.num_networks == 1:
        return make(seed)
    return pair_states(make(seed), make(peer_seed(seed)))


def peer_seed(seed: Any) -> Any:
    """Return the seed of a peer network.

    Args:
        seed: of the network, at least 0 and below 2**32; it may be an array of uint32.

    Returns:
        Another seed, far from those of runs beside this one.

    Example:
        >>> peer_seed(3)
        2147483651
    """
    return (seed + 2**31) % 2**32 if isinstance(seed, int) else seed ^ np.uint32(2**31)


def pair_states(one: TrainState, other: TrainState) -> TrainState:
    """Make one state of two networks.

    Args:
        one: the state of a network before its first step.
        other: that of its peer.

    Returns:
        A state whose attributes are pairs, but for the step.

    Example:
        >>> both = pair_states(*(init_state(jnp.ones(2), optax.sgd(0.1)) for _ in range(2)))
        >>> len(both.params), both.step.shape
        (2, ())
    """
    paired = {name: (getattr(one, name), getattr(other, name)) for name in TrainState._fields}
    return TrainState(**{**paired, "step": one.step})
