"""Score predictions on labels of which some are wrong: the shares learned and memorized."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from saner_jax.objectives import LossFn


class Counts(NamedTuple):
    """Count predictions on labels of which some are wrong; scalars, additive over batches.

    Attributes:
        examples: how many examples were seen; int32, as all but the last.
        correct: predicted as their true class.
        flipped: examples whose label is not their true class.
        memorized: flipped examples predicted as their wrong label.
        corrected: flipped examples predicted as their true class.
        clean_fit: unflipped examples predicted as their label.
        loss: sum of the losses at the labels, float32.
    """

    examples: jax.Array
    correct: jax.Array
    flipped: jax.Array
    memorized: jax.Array
    corrected: jax.Array
    clean_fit: jax.Array
    loss: jax.Array


class Shares(NamedTuple):
    """The shares that follow from `Counts`: float64 in [0, 1], NaN where nothing was counted.

    Attributes:
        accuracy: share of all examples predicted as their true class.
        fit: share of all examples predicted as their label, right or wrong.
        memorized: share of the flipped examples predicted as their wrong label.
        corrected: share of the flipped examples predicted as their true class.
        clean_fit: share of the unflipped examples predicted as their label.
        loss: mean loss at the labels, not a share.
    """

    accuracy: NDArray[np.float64]
    fit: NDArray[np.float64]
    memorized: NDArray[np.float64]
    corrected: NDArray[np.float64]
    clean_fit: NDArray[np.float64]
    loss: NDArray[np.float64]


def evaluate(logits: jax.Array, labels: jax.Array, true_labels: jax.Array, loss: LossFn) -> Counts:
    """Count a model's predictions on labels of which some may be wrong.

    Where all labels are right, pass them twice: then nothing is flipped, and `correct` is the
    ordinary count.

    Args:
        logits: `(n, c)`, the model's; for large sets add the counts of several calls.
        labels: integers `(n,)`, as given in training.
        true_labels: integers `(n,)`, as they should be.
        loss: logits and labels to one loss per example, `(n,)`.

    Returns:
        The counts. A tie goes to the lowest class, and so does a row of NaN.

    Example:
        >>> from saner_jax.objectives import cross_entropy
        >>> counts = evaluate(
        ...     jnp.eye(3), jnp.array([0, 1, 0]), jnp.array([0, 2, 2]), cross_entropy)
        >>> counts.flipped.item(), counts.memorized.item(), counts.corrected.item()
        (2, 1, 1)
    """
    predicted = jnp.argmax(logits, axis=-1)
    is_flipped = labels != true_labels
    count = lambda mask: jnp.sum(mask, dtype=jnp.int32)
    return Counts(
        examples=jnp.full((), labels.shape[0], jnp.int32),
        correct=count(predicted == true_labels),
        flipped=count(is_flipped),
        memorized=count(is_flipped & (predicted == labels)),
        corrected=count(is_flipped & (predicted == true_labels)),
        clean_fit=count(~is_flipped & (predicted == labels)),
        loss=jnp.sum(loss(logits, labels)),
    )


def shares(counts: Counts) -> Shares:
    """Turn counts into shares, on the host.

    Args:
        counts: scalars, or arrays of one shape, such as one entry per seed.

    Returns:
        Arrays of that shape; NaN where the group is empty.

    Example:
        >>> shares(Counts(10, 8, 4, 1, 3, 5, 20.0)).memorized.item()
        0.25
    """
    examples, correct, flipped, memorized, corrected, clean_fit, loss = (
        np.asarray(leaf, np.float64) for leaf in counts
    )
    with np.errstate(invalid="ignore"):
        return Shares(
            accuracy=correct / examples,
            fit=(memorized + clean_fit) / examples,
            memorized=memorized / flipped,
            corrected=corrected / flipped,
            clean_fit=clean_fit / (examples - flipped),
            loss=loss / examples,
        )
