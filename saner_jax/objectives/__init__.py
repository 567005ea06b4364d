"""Objectives and gradients other than the mean loss of a minibatch."""

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
from saner_jax.objectives._penalties import penalized_loss
from saner_jax.objectives._split_gradient import split_gradient

__all__ = [
    "OutputHistory",
    "SplitQuality",
    "ascent_weights",
    "init_history",
    "likely_clean",
    "penalized_loss",
    "record_outputs",
    "split_gradient",
    "split_quality",
    "weighted_mean",
]
