"""Names under which `jax.export` writes the states of transformations."""

from typing import TypeVar

from jax import export

Class = TypeVar("Class", bound=type)


def exportable(kind: Class) -> Class:
    """Register a named tuple, so that `jax.export` can write a step that takes or returns it."""
    export.register_namedtuple_serialization(kind, serialized_name=f"saner_jax.{kind.__name__}")
    return kind
