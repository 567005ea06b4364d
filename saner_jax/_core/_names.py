"""The names on the paths of leaves, in the trees of Linen, NNX, Equinox and Haiku."""

import re
from typing import Any

import jax


def names_of(path: tuple[Any, ...]) -> list[str]:
    """Return the names on the path of a leaf, from the top down.

    Args:
        path: key path of a leaf, as from `jax.tree_util.tree_leaves_with_path`.

    Returns:
        The names; none for a tree that is one leaf. Haiku's `mlp/~/linear` and flat names such as
        `layer1.bn` give one name for each part.

    Example:
        >>> leaves = jax.tree_util.tree_leaves_with_path({"net/~/norm": {"scale": 1.0}})
        >>> names_of(leaves[0][0])
        ['net', 'norm', 'scale']
    """
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    # NNX states that still hold variables have one key more.
    names = names[:-1] if names and names[-1] in ("value", "raw_value") else names
    return [part for name in names for part in re.split(r"[/.]", name) if part and part != "~"]
