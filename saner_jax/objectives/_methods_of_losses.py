"""Robust objectives that keep nothing: other costs, other targets, a matrix of label noise.

None of them needs another network. A step costs the gradients of its optimizer, and no memory.
"""

from jax.typing import ArrayLike

from saner_jax.objectives._costs import (
    absolute_errors,
    blend,
    cross_entropies,
    generalized,
    normalized,
    through_transition,
)
from saner_jax.objectives._objective import Objective, make_objective
from saner_jax.objectives._supervising import bootstrapped, smoothed

# -log 1e-4: the reverse cross-entropy is this number times the missing probability of the label.
_REVERSE = 9.210340371976184


def gce(q: float = 0.7) -> Objective:
    r"""Between cross-entropy and absolute error: generalized cross-entropy.

    .. math:: (1 - p_y^q) / q

    Args:
        q: in (0, 1]; towards 0 it is the cross-entropy, at 1 the absolute error.

    Returns:
        The objective. It need not know the noise rate.

    Raises:
        ValueError: for another q.

    Limits:
        It underfits where there are many classes.

    Example:
        >>> gce().has_memory
        False

    Source:
        Zhang and Sabuncu 2018, arXiv:1805.07836.

    Differences:
        1. Without the truncated form, whose model is chosen on test data in the authors' code.
    """
    return make_objective(generalized(q))


def sce(alpha: float = 0.1, beta: float = 1.0) -> Objective:
    r"""Cross-entropy and reverse cross-entropy: symmetric cross-entropy.

    .. math:: -\alpha \log p_y + \beta A (1 - p_y), \quad A = -\log 10^{-4}

    Args:
        alpha: weight of the cross-entropy. The paper's 0.1 on CIFAR-10, 6 on CIFAR-100.
        beta: weight of the reverse one. The paper's 1 on CIFAR-10, 0.1 on CIFAR-100.

    Returns:
        The objective. It need not know the noise rate.

    Raises:
        ValueError: for weights that are not finite.

    Example:
        >>> sce(alpha=6.0, beta=0.1).num_networks
        1

    Source:
        Wang et al. 2019, arXiv:1908.06112; the natural logarithm is that of
        YisenWang/symmetric_cross_entropy_for_noisy_labels @ec778df, though the paper writes A = 4.
    """
    return make_objective(blend((alpha, cross_entropies), (_REVERSE * beta, absolute_errors)))


def nce_rce(alpha: float = 1.0, beta: float = 1.0) -> Objective:
    r"""Normalized and reverse cross-entropy: an active and a passive loss.

    .. math:: \alpha \frac{\log p_y}{\sum_k \log p_k} + \beta A (1 - p_y), \quad A = -\log 10^{-4}

    Args:
        alpha: weight of the first. The paper's 1 on CIFAR-10, 10 on CIFAR-100.
        beta: weight of the second. The paper's 1 on CIFAR-10, 0.1 on CIFAR-100.

    Returns:
        The objective, for two classes or more. It need not know the noise rate.

    Raises:
        ValueError: for weights that are not finite.

    Example:
        >>> nce_rce().is_revised
        False

    Source:
        Ma et al. 2020, arXiv:2006.13554; HanxunH/Active-Passive-Losses @04bce53.
    """
    parts = (alpha, normalized(cross_entropies)), (_REVERSE * beta, absolute_errors)
    return make_objective(blend(*parts))


def label_smoothing(smoothing: float = 0.1) -> Objective:
    r"""Cross-entropy with a part of each label spread over all classes.

    Args:
        smoothing: the part, in [0, 1). Larger ones, as 0.4, suit wrong labels better.

    Returns:
        The objective. It need not know the noise rate.

    Raises:
        ValueError: for another smoothing.

    Example:
        >>> label_smoothing(0.4).has_memory
        False

    Source:
        Szegedy et al. 2016, arXiv:1512.00567; for noisy labels Lukasik et al. 2020,
        arXiv:2003.02819.
    """
    return make_objective(targets=smoothed(smoothing))


def bootstrapping(beta: float = 0.8, *, hard: bool = True) -> Objective:
    r"""Cross-entropy with targets between the label and the network's own prediction.

    Args:
        beta: weight of the label, in [0, 1]. The paper's 0.8 for hard, 0.95 for soft targets.
        hard: whether the prediction counts as its most likely class alone.

    Returns:
        The objective. It need not know the noise rate.

    Raises:
        ValueError: for another beta.

    Example:
        >>> bootstrapping(0.95, hard=False).has_memory
        False

    Source:
        Reed et al. 2015, arXiv:1412.6596.

    Differences:
        1. The targets are constants. In the paper's soft form the gradient flows through them,
           which adds a penalty on the entropy.
        2. The code of SANER's authors computes them anew in the second pass.
    """
    return make_objective(targets=bootstrapped(beta, hard=hard))


def forward_correction(transition: ArrayLike) -> Objective:
    r"""Cross-entropy of the given label, through a matrix of label noise.

    .. math:: -\log (p T)_y

    Args:
        transition: T `(c, c)`: row i is the distribution of the given label for true class i, such
            as from `estimate_transition`.

    Returns:
        The objective; its logits are those of the true classes.

    Raises:
        ValueError: for something that is no such matrix.

    Limits:
        It needs to know T, and an estimate often costs more than it gains.

    Example:
        >>> forward_correction([[0.9, 0.1], [0.2, 0.8]]).has_memory
        False

    Source:
        Patrini et al. 2017, arXiv:1609.03683; giorgiop/loss-correction @15a79de.

    Differences:
        1. The authors clip p, which has no gradient above 1 - 1e-7; here it is in logarithms.
    """
    return make_objective(through_transition(transition))
