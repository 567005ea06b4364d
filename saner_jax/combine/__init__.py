"""What to keep of the two gradients of a step."""

from saner_jax.combine._coordinatewise import Group, check_origin, damp_shrunk, restore_origin
from saner_jax.combine._groups import is_grown, is_reversed, is_shrunk
from saner_jax.combine._whole_gradient import (
    ReusedDirectionState,
    extrapolate,
    keep_origin_length,
    remove_orthogonal,
    reuse_orthogonal,
)

__all__ = [
    "Group",
    "ReusedDirectionState",
    "check_origin",
    "damp_shrunk",
    "extrapolate",
    "is_grown",
    "is_reversed",
    "is_shrunk",
    "keep_origin_length",
    "remove_orthogonal",
    "restore_origin",
    "reuse_orthogonal",
]
