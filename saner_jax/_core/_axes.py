"""Mesh axes inside `jax.shard_map` and `jax.pmap`, and which arrays differ along them."""

from typing import Any

import jax

AxisName = Any
"""The name of a mesh axis or of a ``pmap``, or a tuple of such names, as JAX's collectives take."""


def axes_of(axis_name: AxisName) -> tuple[Any, ...]:
    """Return the single names."""
    return tuple(axis_name) if isinstance(axis_name, tuple | list) else (axis_name,)


def varies(x: jax.typing.ArrayLike) -> frozenset[Any]:
    """Return the mesh axes over which an array is known to differ."""
    return jax.typeof(x).manual_axis_type.varying


def tracked(axis_name: AxisName) -> list[Any]:
    """Return the axes among `axis_name` of which JAX tracks which arrays differ along them."""
    return [axis for axis in axes_of(axis_name) if axis in varies(jax.lax.axis_index(axis))]
