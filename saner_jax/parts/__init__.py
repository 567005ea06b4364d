"""Pieces for parts of your own: strengths, and sums over trees that do not lose precision.

A part is an ordinary Optax transformation. With these pieces it takes a number, a traced scalar, a
schedule or a function of the gradient as its strength, does nothing at a strength of 0, survives a
zero gradient, and sums in float32 where the leaves are half precision::

    def scale_to_cube_root(rho):
        check_strength("scale_to_cube_root", "rho", rho, meaning="0 perturbs nothing")

        def scale(updates, rho, **_):
            length = global_norm(updates)
            return scale_tree(safe_ratio(rho, jnp.cbrt(length)), updates)

        return counted(scale, rho, when_off=optax.tree.zeros_like)
"""

from saner_jax._core._arguments import check_whole
from saner_jax._core._precision import (
    global_dot,
    global_norm,
    projection,
    safe_ratio,
    scale_tree,
    wide_dtype,
    widely,
)
from saner_jax._core._strengths import (
    CountState,
    DirectionStrength,
    PerturbationState,
    Strength,
    check_strength,
    counted,
    of_direction,
    value_at,
)
from saner_jax._core._trees import Mask, resolve_mask

__all__ = [
    "CountState",
    "DirectionStrength",
    "Mask",
    "PerturbationState",
    "Strength",
    "check_strength",
    "check_whole",
    "counted",
    "global_dot",
    "global_norm",
    "of_direction",
    "projection",
    "resolve_mask",
    "safe_ratio",
    "scale_tree",
    "value_at",
    "wide_dtype",
    "widely",
]
