"""What objectives remember of every example, and how: averages, windows of epochs, losses."""

from typing import Any

import jax
import jax.numpy as jnp

from saner_jax.objectives._losses import cross_entropy
from saner_jax.objectives._mixture import two_gaussians
from saner_jax.objectives._objective import Memory, Observed, Supervision, everyone, given


def as_told(
    own: Observed, labels: jax.Array, *, targets: Any = None, weights: Any = None, extra: Any = ()
) -> Supervision:
    """Return a supervision, of which what is not given is that of the labels.

    Args:
        own: what the network shows.
        labels: `(b,)`.
        targets: `(b, c)`; None: the labels.
        weights: `(b,)`; None: 1 for every example.
        extra: for the penalty.

    Returns:
        The supervision, of the dtype of the logits.

    Example:
        >>> as_told(Observed(jnp.zeros((1, 2))), jnp.array([1])).targets.tolist()
        [[0.0, 1.0]]
    """
    logits = own.logits
    targets = given(logits, labels) if targets is None else targets.astype(logits.dtype)
    weights = everyone(logits, labels) if weights is None else weights.astype(logits.dtype)
    return Supervision(targets, weights, extra)


def one_hots(labels: Any, num_classes: int) -> Memory:
    """Return a memory of targets that are the labels at first.

    Args:
        labels: `(n,)`.
        num_classes: c.

    Returns:
        Rows `(n, c)`.

    Example:
        >>> one_hots([1], 2).rows.tolist()
        [[0.0, 1.0]]
    """
    return Memory(jax.nn.one_hot(jnp.asarray(labels), num_classes))


def blanks(labels: Any, num_classes: int) -> Memory:
    """Return a memory of averages of predictions, before any.

    Args:
        labels: `(n,)`.
        num_classes: c.

    Returns:
        Rows `(n, c)` of zeros.

    Example:
        >>> blanks([1], 2).rows.tolist()
        [[0.0, 0.0]]
    """
    return Memory(jnp.zeros((len(labels), num_classes)))


def no_recent(labels: Any, num_classes: int, window: int, **rows: Any) -> dict[str, Any]:
    """Return rows of a memory that keeps the predictions of the last epochs, before any.

    Args:
        labels: `(n,)`.
        num_classes: c.
        window: epochs that are kept.
        **rows: what the memory keeps besides, arrays `(n, ...)` by name.

    Returns:
        "recent", `(n, window, c)` of zeros, and the others.

    Example:
        >>> no_recent([1, 0], 3, window=5)["recent"].shape
        (2, 5, 3)
    """
    return {**rows, "recent": jnp.zeros((len(labels), window, num_classes))}


def with_recent(own: Observed, epoch: Any) -> jax.Array:
    """Write the predictions of an epoch in place of the oldest ones.

    Args:
        own: what the network shows, with rows that hold "recent" as from `no_recent`.
        epoch: from 0.

    Returns:
        The new rows of "recent".
    """
    recent = own.rows["recent"]
    predictions = jax.nn.softmax(own.logits).astype(recent.dtype)
    return recent.at[:, epoch % recent.shape[1]].set(predictions)


def mean_recent(memory: Memory) -> tuple[jax.Array, jax.Array]:
    """Return the mean of the last epochs' predictions.

    Args:
        memory: with rows that hold "recent" as from `no_recent`.

    Returns:
        `(n, c)`, rows that sum to 1; and bool `(n,)`, whether there was any prediction. Epochs that
        have not been yet do not count.
    """
    total = jnp.sum(memory.rows["recent"], axis=1)
    size = jnp.sum(total, axis=1)
    return total / jnp.where(size > 0, size, 1.0)[:, None], size > 0


def contradicted(
    labels: jax.Array, predictions: jax.Array, delta: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
    r"""Return the labels that predictions contradict, and what is said instead.

    .. math:: f_y / \max_k f_k < \delta

    Args:
        labels: integers `(n,)`, y.
        predictions: `(n, c)`, f.
        delta: the threshold, in [0, 1].

    Returns:
        bool `(n,)`, and the most likely classes `(n,)`, of the dtype of the labels.

    Example:
        >>> is_one, instead = contradicted(jnp.array([1]), jnp.array([[0.7, 0.2, 0.1]]), 0.3)
        >>> is_one.tolist(), instead.tolist()
        ([True], [0])
    """
    of_label = jnp.take_along_axis(predictions, labels[:, None], axis=1)[:, 0]
    instead = jnp.argmax(predictions, axis=1).astype(labels.dtype)
    return of_label < delta * jnp.max(predictions, axis=1), instead


def init_losses(labels: Any, num_classes: int) -> Memory:
    """Return a memory of averaged losses, and of the probability that each label is right.

    Args:
        labels: `(n,)`.
        num_classes: does not matter.

    Returns:
        Rows "clean", 1 for all, "loss" and "count", 0 for all.

    Example:
        >>> init_losses([1, 0], 2).rows["clean"].tolist()
        [1.0, 1.0]
    """
    del num_classes
    zeros = jnp.zeros(len(labels))
    return Memory({"clean": zeros + 1, "loss": zeros, "count": jnp.zeros(len(labels), jnp.int32)})


def with_loss(own: Observed, labels: jax.Array, decay: float = 0.0) -> Any:
    """Add the losses of a step to their averages.

    Args:
        own: what the network shows, with rows as from `init_losses`.
        labels: `(b,)`.
        decay: weight of the average so far; the first loss is taken whole.

    Returns:
        The new rows.
    """
    losses = cross_entropy(own.logits, labels)
    moved = decay * own.rows["loss"] + (1 - decay) * losses
    loss = jnp.where(own.rows["count"] == 0, losses, moved)
    return {**own.rows, "loss": loss, "count": own.rows["count"] + 1}


def revise_clean(memory: Memory, step: jax.Array) -> Memory:
    """Fit two Gaussians to the averaged losses.

    Args:
        memory: as from `init_losses`.
        step: does not matter.

    Returns:
        The memory, with the probability of the lower component as "clean".
    """
    del step
    rows = memory.rows
    mixture = two_gaussians(rows["loss"], rows["count"] > 0)
    return memory._replace(rows={**rows, "clean": mixture.clean.astype(rows["clean"].dtype)})
