"""Losses, objectives of many parts, and gradients other than that of the mean loss.

An objective is what a step differentiates: costs of the classes, targets, sample weights, a penalty
and a memory of every example. A robust method of a paper is a function that returns one; see
`OBJECTIVES`.
"""

from saner_jax.objectives._clean_split import (
    OutputHistory,
    SplitQuality,
    ascent_weights,
    init_history,
    likely_clean,
    record_outputs,
    split_quality,
    weighted_mean,
)
from saner_jax.objectives._costs import (
    Costs,
    absolute_errors,
    blend,
    cross_entropies,
    generalized,
    normalized,
    through_transition,
)
from saner_jax.objectives._divergences import (
    agreement_penalty,
    divergence_from_prior,
    entropy,
    squared_errors,
    symmetric_divergence,
)
from saner_jax.objectives._losses import (
    LOSSES,
    LossFn,
    balanced_weights,
    cross_entropy,
    generalized_cross_entropy,
    mean_absolute_error,
    smoothed_cross_entropy,
    weigh_classes,
)
from saner_jax.objectives._methods_of_losses import (
    bootstrapping,
    forward_correction,
    gce,
    label_smoothing,
    nce_rce,
    sce,
)
from saner_jax.objectives._methods_of_memory import (
    elr,
    fixed_targets,
    joint_optimization,
    plc,
    selc,
)
from saner_jax.objectives._methods_of_mixtures import (
    clean_weights,
    dynamic_bootstrapping,
    init_losses,
    revise_clean,
    with_loss,
)
from saner_jax.objectives._methods_of_selection import (
    co_teaching,
    dividemix,
    jocor,
    small_loss_selection,
)
from saner_jax.objectives._mixture import TwoGaussians, two_gaussians
from saner_jax.objectives._mixup import mixup
from saner_jax.objectives._objective import (
    Memory,
    Objective,
    Observed,
    Supervision,
    bytes_of,
    everyone,
    from_loss,
    given,
    make_objective,
    observe,
    remember,
    weighted_costs,
)
from saner_jax.objectives._penalties import penalized_loss
from saner_jax.objectives._split_gradient import split_gradient
from saner_jax.objectives._supervising import (
    bootstrapped,
    forget_rate,
    sharpened,
    smallest,
    smoothed,
)
from saner_jax.objectives._transition import estimate_transition

OBJECTIVES = {
    "gce": gce,
    "sce": sce,
    "nce_rce": nce_rce,
    "label_smoothing": label_smoothing,
    "bootstrapping": bootstrapping,
    "dynamic_bootstrapping": dynamic_bootstrapping,
    "forward_correction": forward_correction,
    "elr": elr,
    "selc": selc,
    "plc": plc,
    "joint_optimization": joint_optimization,
    "clean_weights": clean_weights,
    "small_loss_selection": small_loss_selection,
    "co_teaching": co_teaching,
    "jocor": jocor,
    "dividemix": dividemix,
}
"""Every robust objective by name."""

__all__ = [
    "LOSSES",
    "OBJECTIVES",
    "Costs",
    "LossFn",
    "Memory",
    "Objective",
    "Observed",
    "OutputHistory",
    "SplitQuality",
    "Supervision",
    "TwoGaussians",
    "absolute_errors",
    "agreement_penalty",
    "ascent_weights",
    "balanced_weights",
    "blend",
    "bootstrapped",
    "bootstrapping",
    "bytes_of",
    "clean_weights",
    "co_teaching",
    "cross_entropies",
    "cross_entropy",
    "divergence_from_prior",
    "dividemix",
    "dynamic_bootstrapping",
    "elr",
    "entropy",
    "estimate_transition",
    "everyone",
    "fixed_targets",
    "forget_rate",
    "forward_correction",
    "from_loss",
    "gce",
    "generalized",
    "generalized_cross_entropy",
    "given",
    "init_history",
    "init_losses",
    "jocor",
    "joint_optimization",
    "label_smoothing",
    "likely_clean",
    "make_objective",
    "mean_absolute_error",
    "mixup",
    "nce_rce",
    "normalized",
    "observe",
    "penalized_loss",
    "plc",
    "record_outputs",
    "remember",
    "revise_clean",
    "sce",
    "selc",
    "sharpened",
    "small_loss_selection",
    "smallest",
    "smoothed",
    "smoothed_cross_entropy",
    "split_gradient",
    "split_quality",
    "squared_errors",
    "symmetric_divergence",
    "through_transition",
    "two_gaussians",
    "weigh_classes",
    "weighted_costs",
    "weighted_mean",
    "with_loss",
]
