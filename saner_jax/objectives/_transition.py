"""Estimate the matrix of label noise from predictions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def estimate_transition(
    probabilities: ArrayLike, *, quantile: float | None = 0.97
) -> NDArray[np.float64]:
    """Estimate which labels are given to examples of each class, from anchor points.

    The anchor of a class is an example that a model, trained on the labels as given, takes for that
    class most surely. The model's probabilities of it are the row of the class.

    Args:
        probabilities: `(n, c)`, predicted by a model that has not memorized the labels, such as the
            means of `Evidence.probabilities` or those of a run stopped early.
        quantile: the anchor is the surest example up to this quantile of the class's probabilities,
            since the very surest may be an outlier; None takes the surest.

    Returns:
        float64 `(c, c)`: row i is the distribution of the given label for true class i.

    Raises:
        ValueError: for something that is no matrix of probabilities, or a quantile outside (0, 1).

    Limits:
        A class without sure examples gets a row that is too even. The estimate is biased where the
        model has memorized wrong labels.

    Example:
        >>> estimate_transition([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], quantile=None).tolist()
        [[0.9, 0.1], [0.2, 0.8]]

    Source:
        Patrini et al. 2017, arXiv:1609.03683, equations 12 and 13; giorgiop/loss-correction
        @15a79de for the quantile.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p) or not (np.isfinite(p).all() and (p >= 0).all()):
        raise ValueError(f"probabilities must be (n, classes) and at least 0, got {p.shape}")
    if quantile is not None and not 0 < quantile < 1:
        raise ValueError(f"quantile must lie in (0, 1), got {quantile!r}")
    rows = []
    for column in p.T:
        allowed = np.ones(len(p), bool)
        if quantile is not None:
            allowed = column <= np.quantile(column, quantile, method="lower")
        rows.append(p[np.argmax(np.where(allowed, column, -1.0))])
    matrix = np.stack(rows)
    return matrix / matrix.sum(axis=1, keepdims=True)
