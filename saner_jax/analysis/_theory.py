"""Why SAM shrinks what wrong labels push, in closed form: a linear classifier with two examples.

NumPy alone, in float64; the pictures of `saner-jax explain` are drawn from these functions.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def shrinkage_ratio(clean_logit: ArrayLike, noisy_logit: ArrayLike, shift: ArrayLike) -> Array:
    """Tell how much SAM changes a coordinate of the gradient that two examples pull apart.

    Two examples of class 0 with the same feature in that coordinate, one labelled 0 and one
    wrongly 1, in a linear classifier with the logistic loss. SAM of each example by itself raises
    its own loss, so the logits move by C and the coordinate changes by the factor

        r(z1, z2; C) = (1 - s(z1 + C) - s(z2 - C)) / (1 - s(z1) - s(z2))
                     = (1 + e^z1) (1 + e^z2) / ((1 + e^(z1 + C)) (1 + e^(z2 - C)))

    where s is the logistic function. The second form, which is computed, follows since both
    differences hold the factor 1 - e^(z1 + z2); it needs no floor where they vanish. It shows
    that r > 0 always, and that **r < 1 where z2 - z1 < C**: the coordinate shrinks until the wrong
    label is fitted better than the right one by more than C.

    Args:
        clean_logit: z1, of the example whose label is right; below 0 is on its side.
        noisy_logit: z2, of the one whose label is wrong; below 0 contradicts its label.
        shift: C = rho ||x||, the change of a logit by the perturbation, at least 0.

    Returns:
        r, by broadcasting, float64; 1 where the shift is 0.

    Example:
        >>> shrinkage_ratio([-1, -5], [-5, -1], 1.0).round(5).tolist()
        [0.68685, 1.19113]
        >>> shrinkage_ratio(-2.0, -1.0, 1.0).item()
        1.0

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132), section 3, as its authors' plotting code
        computes it (lhchau/saner @07fd303 and its predecessors); the second form is ours.

    Differences:
        1. The authors' code floors the denominator at 1e-6.
    """
    z1, z2, c = (np.asarray(value, np.float64) for value in (clean_logit, noisy_logit, shift))
    return np.exp(_softplus(z1) - _softplus(z1 + c) + _softplus(z2) - _softplus(z2 - c))


def example_weight(margin: ArrayLike, shift: ArrayLike) -> Array:
    """Tell how much SAM of single examples reweights one: s(C - z) / s(-z).

    Above 1 for every C > 0 and growing with the margin to e^C: SAM turns to what is fitted, SGD to
    what is not, and while wrong labels are not fitted yet, that favors the right ones.

    Args:
        margin: z, the logit in favor of the example's label.
        shift: C = rho ||x||, at least 0.

    Returns:
        The weight relative to SGD's, by broadcasting, float64.

    Example:
        >>> example_weight([-5.0, 0.0, 5.0], 1.0).round(3).tolist()
        [1.004, 1.462, 2.687]

    Source:
        Baek, Kolter and Raghunathan, ICLR 2024 (arXiv 2405.03676), section 3.
    """
    z, c = np.asarray(margin, np.float64), np.asarray(shift, np.float64)
    return np.exp(_softplus(z) - _softplus(z - c))


def ratio_of_parts(clean_gain: ArrayLike, noisy_gain: ArrayLike, dominance: ArrayLike) -> Array:
    """Tell what becomes of a coordinate whose clean and noisy parts oppose each other.

        r = (An k - Ac) / (k - 1)

    Args:
        clean_gain: Ac, the factor by which the perturbation changes the part of the examples with
            right labels.
        noisy_gain: An, the same for wrong labels.
        dominance: k, the noisy part over the clean part in magnitude, before; at least 0.

    Returns:
        r, by broadcasting, float64. At k = 1 the parts cancel and r is infinite, NaN if the gains
        are equal.

    Example:
        >>> ratio_of_parts(2.0, 1.2, [0.5, 2.0, 8.0]).round(3).tolist()
        [2.8, 0.4, 1.086]
    """
    clean, noisy, k = (
        np.asarray(value, np.float64) for value in (clean_gain, noisy_gain, dominance)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return (noisy * k - clean) / (k - 1)


def shrinking_dominance(clean_gain: ArrayLike, noisy_gain: ArrayLike) -> tuple[Array, Array]:
    """Tell which dominance of noise makes a coordinate shrink: Ac/An < k < (Ac - 1)/(An - 1).

    Below it clean examples win the perturbed gradient, and the coordinate turns over, or grows
    where they won before; **above it SAM amplifies the noise**, and SANER leaves it alone.

    Args:
        clean_gain: Ac, at least 1, see `ratio_of_parts`.
        noisy_gain: An, at least 1.

    Returns:
        The two ends, by broadcasting, float64; the upper one is infinite at An = 1 < Ac. Where the
        clean gain is not above the noisy one, nothing shrinks and both are NaN.

    Example:
        >>> low, high = shrinking_dominance(2.0, 1.2)
        >>> round(low.item(), 4), round(high.item(), 4)
        (1.6667, 5.0)
    """
    clean, noisy = np.asarray(clean_gain, np.float64), np.asarray(noisy_gain, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = clean / noisy, (clean - 1) / (noisy - 1)
    return np.where(clean > noisy, low, np.nan), np.where(clean > noisy, high, np.nan)


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)
