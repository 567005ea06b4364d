"""The predictions of a model for every training example, over its training.

Wrong labels are contradicted long before they are fitted, so the mean over training tells more than
the end does: on digits with 40 % symmetric noise an AUROC of 97.5 instead of 81.7 % for SGD, 99.6
instead of 97.3 % for SANER (3 seeds). Sums on the host, in float64, so that a run that was
interrupted adds up the same.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.runs import write_bytes

_FILE = "history.npz"
_BLOCK = 10_000
_DTYPE_KINDS = {
    **dict.fromkeys(("keys", "hashes", "class_names"), "U"),
    **dict.fromkeys(("labels", "true_labels"), "i"),
    "is_held_out": "b",
}


class History(NamedTuple):
    """Sums over the evaluations so far, for `n` examples and `c` classes.

    Attributes:
        probabilities: float64 `(n, c)`, the predicted probabilities.
        margin: float64 `(n,)`, the logit of the given label less the largest other one.
        loss: float64 `(n,)`, the cross-entropy at the given label.
        agreed: int64 `(n,)`, how often the given label was predicted.
        num_evaluations: int64 scalar.
    """

    probabilities: NDArray[np.float64]
    margin: NDArray[np.float64]
    loss: NDArray[np.float64]
    agreed: NDArray[np.int64]
    num_evaluations: NDArray[np.int64]


class Evidence(NamedTuple):
    """The predictions of a finished run for its `n` training examples, as means over evaluations.

    Attributes:
        keys: strings `(n,)`, their keys, see `Dataset.train_keys`.
        hashes: strings `(n,)`, the `content_hash` of each.
        class_names: strings `(c,)`, the names of the classes.
        labels: int32 `(n,)`, as given.
        true_labels: int32 `(n,)`, before the run's noise.
        is_held_out: bool `(n,)`, whether the run was not trained on it.
        probabilities: float64 `(n, c)`; rows sum to 1.
        margin: float64 `(n,)`.
        loss: float64 `(n,)`.
        agreement: float64 `(n,)`, the share of evaluations that predicted the given label.
    """

    keys: NDArray[np.str_]
    hashes: NDArray[np.str_]
    class_names: NDArray[np.str_]
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]
    is_held_out: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    margin: NDArray[np.float64]
    loss: NDArray[np.float64]
    agreement: NDArray[np.float64]


def init_history(num_examples: int, num_classes: int) -> History:
    """Return the history before the first evaluation.

    Args:
        num_examples: n, may be 0.
        num_classes: c.

    Returns:
        Zeros.

    Example:
        >>> init_history(2, 3).probabilities.shape
        (2, 3)
    """
    each = np.zeros(num_examples)
    zero = np.zeros((), np.int64)
    return History(np.zeros((num_examples, num_classes)), each, each, each.astype(np.int64), zero)


def add_evaluation(history: History, logits: Any, labels: Any) -> History:
    """Add one evaluation.

    Args:
        history: of the same examples.
        logits: `(n, c)`, c at least 2; a row that is not finite makes the example's sums NaN.
        labels: integers `(n,)`, as given.

    Returns:
        The new sums.

    Example:
        >>> history = add_evaluation(init_history(2, 3), [[2.0, 0.0, 1.0], [0.0, 0.0, 5.0]], [0, 1])
        >>> history.margin.tolist(), history.agreed.tolist()
        ([1.0, -5.0], [1, 0])
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    probabilities, margin = np.array(history.probabilities), np.array(history.margin)
    loss, agreed = np.array(history.loss), np.array(history.agreed)
    # In blocks, so that the copies in float64 stay small for many classes.
    for start in range(0, len(logits), _BLOCK):
        block = slice(start, start + _BLOCK)
        added = _evaluation_of(logits[block].astype(np.float64), labels[block])
        for total, values in zip((probabilities, margin, loss, agreed), added, strict=True):
            total[block] += values
    num_evaluations = np.asarray(history.num_evaluations + 1)
    return History(probabilities, margin, loss, agreed, num_evaluations)


def _evaluation_of(logits: NDArray[np.float64], labels: NDArray[np.integer]) -> tuple[Any, ...]:
    """Return what one evaluation adds to each sum of the history."""
    rows, others = np.arange(len(logits)), logits.copy()
    others[rows, labels] = -np.inf
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return (
        np.exp(log_probabilities),
        logits[rows, labels] - others.max(axis=1),
        -log_probabilities[rows, labels],
        logits.argmax(axis=1) == labels,
    )


def to_evidence(
    history: History,
    *,
    keys: NDArray[np.str_],
    hashes: NDArray[np.str_],
    class_names: Sequence[str],
    labels: NDArray[np.int32],
    true_labels: NDArray[np.int32],
    held: NDArray[np.integer],
) -> Evidence:
    """Turn sums into means, and put the examples in the order of their data.

    Args:
        history: of all n examples, those trained on first, then those held out, each ascending.
        keys: their keys `(n,)`, in the order of the data, as all that follows.
        hashes: their content hashes `(n,)`.
        class_names: the name of each class.
        labels: `(n,)`, as given.
        true_labels: `(n,)`.
        held: rows of those held out.

    Returns:
        The evidence of the run; zeros before the first evaluation.

    Example:
        >>> history = add_evaluation(init_history(2, 2), [[1.0, 0.0], [0.0, 3.0]], [0, 1])
        >>> labels = np.array([1, 0], np.int32)  # the first row of the data was held out
        >>> evidence = to_evidence(
        ...     history, keys=np.array(["0", "1"]), hashes=np.array(["aa", "bb"]),
        ...     class_names=("cat", "dog"), labels=labels, true_labels=labels, held=np.array([0])
        ... )
        >>> evidence.margin.tolist(), evidence.is_held_out.tolist()
        ([3.0, 1.0], [True, False])
    """
    is_held_out = np.zeros(len(keys), bool)
    is_held_out[held] = True
    order = np.argsort(np.argsort(is_held_out, kind="stable"))
    means = (
        getattr(history, name)[order] / max(int(history.num_evaluations), 1)
        for name in ("probabilities", "margin", "loss", "agreed")
    )
    names = np.array(class_names, np.str_)
    return Evidence(keys, hashes, names, labels, true_labels, is_held_out, *means)


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write history.npz into a run folder, whole or not at all.

    Args:
        folder: the run folder.
        evidence: what to write.

    Raises:
        OSError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> folder, none = Path(tempfile.mkdtemp()), np.array([], np.int32)
        >>> write_evidence(folder, to_evidence(
        ...     init_history(0, 2), keys=none.astype(str), hashes=none.astype(str),
        ...     class_names=("cat", "dog"), labels=none, true_labels=none, held=none
        ... ))
        >>> read_evidence(folder).probabilities.shape
        (0, 2)
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **evidence._asdict())
    write_bytes(folder / _FILE, buffer.getvalue())


def read_evidence(folder: Path) -> Evidence:
    """Read history.npz of a run folder; pickled objects in it are never loaded.

    Args:
        folder: of a finished run of `saner-jax train`.

    Returns:
        The evidence of the run.

    Raises:
        ValueError: for a folder without one, and a file that is damaged or holds something else;
            the sentence names the file.

    Example:
        >>> read_evidence(Path("nowhere"))
        Traceback (most recent call last):
            ...
        ValueError: nowhere: holds no history.npz, as a finished run of saner-jax train does
    """
    path = folder / _FILE
    if not path.is_file():
        raise ValueError(f"{folder}: holds no {_FILE}, as a finished run of saner-jax train does")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            # numpy hands out the bytes of a member that has no header.
            evidence = Evidence(*(np.asanyarray(archive[name]) for name in Evidence._fields))
    # Zip and npy each raise errors of their own for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not the history of a run: {reason}") from error
    num_examples = evidence.keys.shape
    for name, array in evidence._asdict().items():
        kind = _DTYPE_KINDS.get(name, "f")
        is_per_example = name == "class_names" or array.shape[:1] == num_examples
        if array.dtype.kind != kind or not is_per_example:
            raise ValueError(
                f"{path}: {name} must hold a value per example, got {array.dtype}{array.shape}"
            )
    classes = evidence.probabilities.shape[1:]
    if len(num_examples) != 1 or len(classes) != 1:
        raise ValueError(f"{path}: probabilities must have a row per example, got {classes}")
    if evidence.class_names.shape != classes:
        raise ValueError(
            f"{path}: class_names must name {classes[0]} classes, got {evidence.class_names.shape}"
        )
    for name in ("labels", "true_labels"):
        labels = getattr(evidence, name)
        if labels.size and not (labels.min() >= 0 and labels.max() < classes[0]):
            raise ValueError(f"{path}: {name} must lie in [0, {classes[0]})")
    return evidence
