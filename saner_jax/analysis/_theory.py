"""The effect of SAM on clean and noisy gradients in closed form, for a linear classifier.

The functions use only NumPy, in float64. `saner-jax explain` draws its pictures from them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def shrinkage_ratio(clean_logit: ArrayLike, noisy_logit: ArrayLike, shift: ArrayLike) -> Array:
    """Return the factor by which SAM changes a gradient coordinate of a clean and a noisy example.

    The model is a linear classifier with the logistic loss. Two examples of class 0 have the same
    feature in the coordinate; one is labeled 0, the other wrongly 1. SAM perturbs each example
    separately, which raises its loss: its logit moves by C. The coordinate changes by the factor

        r(z1, z2; C) = (1 - s(z1 + C) - s(z2 - C)) / (1 - s(z1) - s(z2))
                     = (1 + e^z1) (1 + e^z2) / ((1 + e^(z1 + C)) (1 + e^(z2 - C)))

    where s is the logistic function. Both differences of the first form contain the factor
    1 - e^(z1 + z2). The code uses the second form, in which it is cancelled, so the result is
    defined where the differences vanish. The second form shows that r > 0 always, and that
    **r < 1 exactly if z2 - z1 < C**: the coordinate shrinks as long as the sum of the two margins,
    -z1 of the clean and z2 of the noisy example, is below C.

    Args:
        clean_logit: z1, the logit of the example with the right label; it is fitted if z1 < 0.
        noisy_logit: z2, the logit of the example with the wrong label; it is fitted if z2 > 0.
        shift: C = rho ||x||, the change of a logit by the perturbation, at least 0.

    Returns:
        r, float64, of the arguments' broadcast shape; 1 where the shift is 0.

    Example:
        >>> shrinkage_ratio([-1, -5], [-5, -1], 1.0).round(5).tolist()
        [0.68685, 1.19113]
        >>> shrinkage_ratio(-2.0, -1.0, 1.0).item()
        1.0

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132), section 3, as computed by the authors'
        plotting code (lhchau/saner @07fd303 and its predecessors). The second form is derived here.

    Differences:
        1. The authors' code bounds the denominator from below by 1e-6; the second form needs no
           bound.
    """
    z1, z2, c = (np.asarray(value, np.float64) for value in (clean_logit, noisy_logit, shift))
    return np.exp(_softplus(z1) - _softplus(z1 + c) + _softplus(z2) - _softplus(z2 - c))


def example_weight(margin: ArrayLike, shift: ArrayLike) -> Array:
    """Return the weight that SAM per example gives an example, relative to SGD.

        s(C - z) / s(-z),   s the logistic function

    The weight is above 1 for C > 0 and grows with the margin z, up to e^C. Compared with SGD, SAM
    thus gives more weight to examples that are already fitted. As long as wrong labels are not yet
    fitted, these are the examples with right labels.

    Args:
        margin: z, the logit in favor of the example's label.
        shift: C = rho ||x||, the change of a logit by the perturbation, at least 0.

    Returns:
        The relative weight, float64, of the arguments' broadcast shape.

    Example:
        >>> example_weight([-5.0, 0.0, 5.0], 1.0).round(3).tolist()
        [1.004, 1.462, 2.687]

    Source:
        Baek, Kolter and Raghunathan, ICLR 2024 (arXiv 2405.03676), section 3.
    """
    z, c = np.asarray(margin, np.float64), np.asarray(shift, np.float64)
    return np.exp(_softplus(z) - _softplus(z - c))


def ratio_of_parts(clean_gain: ArrayLike, noisy_gain: ArrayLike, dominance: ArrayLike) -> Array:
    """Return the ratio r of the perturbed to the origin gradient of a coordinate in two parts.

        r = (An k - Ac) / (k - 1)

    The gradient is the sum of a clean and a noisy part with opposite signs. The perturbation
    multiplies the clean part by Ac and the noisy part by An.

    Args:
        clean_gain: Ac, the factor on the part of the examples with right labels.
        noisy_gain: An, the factor on the part of the examples with wrong labels.
        dominance: k, the magnitude of the noisy part divided by that of the clean part, before the
            perturbation; at least 0.

    Returns:
        r, float64, of the arguments' broadcast shape. At k = 1 the parts cancel, and r is infinite,
        or NaN if the gains are equal.

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
    """Return the range of the dominance k in which a coordinate shrinks.

        Ac/An < k < (Ac - 1)/(An - 1)

    Below the range the clean part dominates the perturbed gradient: the coordinate is reversed if
    the noisy part dominated before (k > 1), and grows otherwise. **Above the range SAM amplifies
    the noise**, and SANER does not damp the coordinate.

    Args:
        clean_gain: Ac, at least 1; see `ratio_of_parts`.
        noisy_gain: An, at least 1; see `ratio_of_parts`.

    Returns:
        The lower and the upper end, float64, of the arguments' broadcast shape. The upper end is
        infinite if An = 1 < Ac. Both are NaN unless Ac > An, since then no coordinate shrinks.

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
