"""Diagnostics of noisy gradients, sharpness measures, and the theory of SAM on a linear model."""

from saner_jax.analysis._noisy_gradients import (
    GroupShares,
    NoiseDiagnostics,
    group_shares_by_layer,
    noise_diagnostics,
    noise_diagnostics_by_layer,
    separate_noisy_gradient,
)
from saner_jax.analysis._sharpness import (
    TraceEstimate,
    hessian_eigenvalues,
    hessian_trace,
    m_sharpness,
)
from saner_jax.analysis._theory import (
    example_weight,
    ratio_of_parts,
    shrinkage_ratio,
    shrinking_dominance,
)
from saner_jax.analysis._toy import Trajectory, TwoClasses, descend, two_gaussians

__all__ = [
    "GroupShares",
    "NoiseDiagnostics",
    "TraceEstimate",
    "Trajectory",
    "TwoClasses",
    "descend",
    "example_weight",
    "group_shares_by_layer",
    "hessian_eigenvalues",
    "hessian_trace",
    "m_sharpness",
    "noise_diagnostics",
    "noise_diagnostics_by_layer",
    "ratio_of_parts",
    "separate_noisy_gradient",
    "shrinkage_ratio",
    "shrinking_dominance",
    "two_gaussians",
]
