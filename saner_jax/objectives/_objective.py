"""What a step differentiates: costs of the classes, targets, sample weights, penalty and memory.

For one example with logits z, an objective is

    w <t, l(z)> + r(z)

l: the cost of each class, if it were the label; t: the targets, one number for each class; w: the
sample weight; r: a penalty. Targets, weights and what the penalty needs are the supervision. It
may depend on the logits of the pass at the parameters, on those of a peer network, on a memory of
every example, and on the number of the step. It is computed once a step, in the pass at the
parameters, and is a constant of both passes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saner_jax._core._exporting import exportable
from saner_jax.objectives._clean_split import weighted_mean
from saner_jax.objectives._costs import Costs, cross_entropies
from saner_jax.objectives._losses import LossFn


@exportable
class Memory(NamedTuple):
    """What an objective keeps of `n` training examples.

    Attributes:
        rows: a pytree of arrays `(n, ...)`; a step reads and writes the rows of its examples.
        shared: a pytree of arrays that belong to no example; `revise` alone changes them.
    """

    rows: Any = ()
    shared: Any = ()


class Observed(NamedTuple):
    """What a network shows of the examples of a step, in the pass at its parameters.

    Attributes:
        logits: `(b, c)`, constants.
        rows: the memory's rows of these examples.
        shared: the memory's other arrays.
    """

    logits: jax.Array
    rows: Any = ()
    shared: Any = ()


@exportable
class Supervision(NamedTuple):
    """What an objective tells a network of `b` examples; constants of both passes.

    Attributes:
        targets: `(b, c)`.
        weights: `(b,)`, at least 0.
        extra: a pytree of arrays for the penalty.
    """

    targets: Any
    weights: Any
    extra: Any = ()


Supervise = Callable[[Observed, Observed, jax.Array, jax.Array], tuple[Supervision, Any]]
Penalty = Callable[[jax.Array, Supervision], jax.Array]
Mix = Callable[[jax.Array, Any, Supervision, Any], tuple[Any, Supervision]]


def _no_memory(labels: Any, num_classes: int) -> Memory:
    del labels, num_classes
    return Memory()


def _unrevised(memory: Memory, step: jax.Array) -> Memory:
    del step
    return memory


class Objective(NamedTuple):
    """A loss with supervision, as pure functions.

    Attributes:
        supervise: takes what the network and its peer show (the same for a network alone), the
            labels `(b,)` and the number of the step; returns the supervision and the new rows of
            the memory.
        loss: takes logits `(b, c)` and the supervision; returns the scalar that every pass
            differentiates.
        init: takes the labels `(n,)` of all training examples and the number of classes; returns
            the memory before the first step.
        revise: takes the memory and the number of steps taken; returns the memory for the next
            epoch. It runs after every epoch.
        num_networks: 1, or 2 for a network and its peer.
        mix: takes a key, the inputs, the supervision and the number of the step; returns inputs and
            supervision of the step, see `mixup`. None leaves them as they are.
    """

    supervise: Supervise
    loss: Penalty
    init: Callable[[Any, int], Memory] = _no_memory
    revise: Callable[[Memory, jax.Array], Memory] = _unrevised
    num_networks: int = 1
    mix: Mix | None = None

    @property
    def is_revised(self) -> bool:
        """Whether the memory changes between epochs."""
        return self.revise is not _unrevised

    @property
    def has_memory(self) -> bool:
        """Whether it keeps something of every example."""
        return self.init is not _no_memory


def from_loss(loss: LossFn) -> Objective:
    r"""Make an objective of a loss of logits and labels.

    .. math:: \frac{1}{b} \sum_i l(z_i, y_i)

    z: the logits; y: the labels as given; l: `loss`.

    Args:
        loss: logits `(b, c)` and labels `(b,)` to a loss per example `(b,)`.

    Returns:
        The objective, without memory.

    Example:
        >>> from saner_jax.objectives import cross_entropy
        >>> objective, logits = from_loss(cross_entropy), jnp.zeros((2, 2))
        >>> observed, labels = Observed(logits), jnp.array([0, 1])
        >>> supervision, _ = objective.supervise(observed, observed, labels, 0)
        >>> objective.loss(logits, supervision).item()
        0.6931471824645996
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        del peer, step
        return Supervision((), (), labels), own.rows

    return Objective(supervise, lambda logits, told: jnp.mean(loss(logits, told.extra)))


def given(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the labels as targets.

    Args:
        logits: `(b, c)`; their number of classes counts.
        labels: integers `(b,)` in [0, c).

    Returns:
        `(b, c)` of the dtype of the logits: 1 at the label, 0 elsewhere.

    Example:
        >>> given(jnp.zeros((1, 3)), jnp.array([1])).tolist()
        [[0.0, 1.0, 0.0]]
    """
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)


def everyone(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the weight 1 for every example.

    Args:
        logits: `(b, c)`.
        labels: `(b,)`.

    Returns:
        `(b,)`, of the dtype of the logits.

    Example:
        >>> everyone(jnp.zeros((2, 3)), jnp.array([1, 0])).tolist()
        [1.0, 1.0]
    """
    return jnp.ones(labels.shape, logits.dtype)


def weighted_costs(costs: Costs, penalty: Penalty | None = None) -> Penalty:
    r"""Return the loss of an objective from the costs of the classes.

    .. math:: \frac{\sum_i w_i \langle t_i, l(z_i) \rangle}{\sum_i w_i} + r

    Args:
        costs: logits `(b, c)` to the cost of each class `(b, c)`.
        penalty: logits and supervision to a scalar r; None adds nothing.

    Returns:
        A function of logits and supervision. Without any weight above 0 the first term is 0, with
        gradient 0.

    Example:
        >>> loss = weighted_costs(cross_entropies)
        >>> told = Supervision(jnp.array([[0.5, 0.5], [1.0, 0.0]]), jnp.array([1.0, 0.0]))
        >>> loss(jnp.array([[0.0, 0.0], [9.0, -9.0]]), told).item()
        0.6931471824645996
    """

    def loss(logits: jax.Array, supervision: Supervision) -> jax.Array:
        each = jnp.sum(supervision.targets * costs(logits), axis=-1)
        value = weighted_mean(each, supervision.weights)
        return value if penalty is None else value + penalty(logits, supervision)

    return loss


def make_objective(
    costs: Costs = cross_entropies,
    *,
    targets: Callable[[jax.Array, jax.Array], jax.Array] = given,
    weights: Callable[[jax.Array, jax.Array], jax.Array] = everyone,
    penalty: Penalty | None = None,
) -> Objective:
    """Make an objective that keeps nothing from step to step.

    Args:
        costs: logits `(b, c)` to the cost of each class `(b, c)`.
        targets: logits and labels to targets `(b, c)`.
        weights: logits and labels to sample weights `(b,)`.
        penalty: logits and supervision to a scalar that is added.

    Returns:
        The objective.

    Example:
        >>> from saner_jax.objectives import absolute_errors, smoothed
        >>> objective = make_objective(absolute_errors, targets=smoothed(0.1))
        >>> objective.has_memory, objective.num_networks
        (False, 1)
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        del peer, step
        logits = own.logits
        return Supervision(targets(logits, labels), weights(logits, labels)), own.rows

    return Objective(supervise, weighted_costs(costs, penalty))


def observe(memory: Memory, rows: jax.Array, logits: jax.Array) -> Observed:
    """Return what a network shows of the examples of a step.

    Args:
        memory: of all examples.
        rows: int32 `(b,)`, the positions of the step's examples among them.
        logits: `(b, c)`.

    Returns:
        Constants: no gradient flows through them.
    """
    return jax.lax.stop_gradient(
        Observed(logits, jax.tree.map(lambda leaf: leaf[rows], memory.rows), memory.shared)
    )


def remember(memory: Memory, rows: jax.Array, new: Any) -> Memory:
    """Write the rows of a step's examples into a memory.

    Args:
        memory: of all examples.
        rows: int32 `(b,)`, the positions of the step's examples among them, none twice.
        new: a pytree like `memory.rows`, of arrays `(b, ...)`.

    Returns:
        The memory; rows of other examples are as they were.

    Example:
        >>> memory = remember(Memory(jnp.zeros(3)), jnp.array([2, 0]), jnp.array([5.0, 6.0]))
        >>> memory.rows.tolist()
        [6.0, 0.0, 5.0]
    """
    write = lambda leaf, values: leaf.at[rows].set(values.astype(leaf.dtype))
    return memory._replace(rows=jax.tree.map(write, memory.rows, new))


def bytes_of(memory: Memory) -> int:
    """Return the bytes of a memory.

    Args:
        memory: of any objective.

    Returns:
        The bytes of all its arrays.

    Example:
        >>> bytes_of(Memory(np.zeros((5, 3), np.float32)))
        60
    """
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(memory))
