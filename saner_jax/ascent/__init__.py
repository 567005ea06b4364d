"""Where to look: from the gradient at the parameters to a perturbation of them."""

from saner_jax.ascent._climbing import climb
from saner_jax.ascent._directions import (
    AverageState,
    add_direction,
    average_directions,
    keep_outliers,
    subtract_trend,
)
from saner_jax.ascent._radii import (
    project_to_radius,
    scale_to_adaptive_linf_radius,
    scale_to_adaptive_radius,
    scale_to_layerwise_radius,
    scale_to_linf_radius,
    scale_to_radius,
)
from saner_jax.ascent._sparsity import ImportanceState, sparsify

__all__ = [
    "AverageState",
    "ImportanceState",
    "add_direction",
    "average_directions",
    "climb",
    "keep_outliers",
    "project_to_radius",
    "scale_to_adaptive_linf_radius",
    "scale_to_adaptive_radius",
    "scale_to_layerwise_radius",
    "scale_to_linf_radius",
    "scale_to_radius",
    "sparsify",
    "subtract_trend",
]
