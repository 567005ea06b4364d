"""Losses, and objectives and gradients other than the mean loss of a minibatch."""

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
from saner_jax.objectives._penalties import penalized_loss
from saner_jax.objectives._split_gradient import split_gradient

__all__ = [
    "LOSSES",
    "LossFn",
    "OutputHistory",
    "SplitQuality",
    "ascent_weights",
    "balanced_weights",
    "cross_entropy",
    "generalized_cross_entropy",
    "init_history",
    "likely_clean",
    "mean_absolute_error",
    "penalized_loss",
    "record_outputs",
    "smoothed_cross_entropy",
    "split_gradient",
    "split_quality",
    "weigh_classes",
    "weighted_mean",
]
