"""Tell two kinds of examples apart by one number: two Gaussians, calibrated along a ranking."""

import numpy as np
from numpy.typing import NDArray


def probability_of_higher(
    values: NDArray[np.float64], along: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probability that each example is of the kind with the higher values.

    Args:
        values: `(n,)`, finite.
        along: `(n,)`, a score that the probability shall not fall with.

    Returns:
        `(n,)` in [0, 1]: what two Gaussians of one variance say, brought by isotonic regression
        into the order of the score. Values that are all alike are of one kind: zeros.

    Example:
        >>> values = np.array([0.0, 0.1, -0.1, 0.05, 5.0, 5.1])
        >>> probability_of_higher(values, along=values).round(2).tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]

    Source:
        Two Gaussians: Permuter et al. 2006, as Li et al. 2020 use them for losses.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.mixture import GaussianMixture

    if len(values) < 2 or np.ptp(values) < 1e-9:
        return np.zeros(len(values))
    mixture = GaussianMixture(2, covariance_type="tied", n_init=5, random_state=0, tol=1e-6)
    fitted = mixture.set_params(max_iter=1000).fit(values[:, None])
    kinds = fitted.predict_proba(values[:, None])
    higher = kinds[:, np.argmax(kinds[values.argmax()])]
    return np.clip(IsotonicRegression().fit(along, higher).predict(along), 0.0, 1.0)
