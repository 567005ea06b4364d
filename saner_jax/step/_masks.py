r"""Which parameters to perturb, by their names: masks for ``perturb_mask`` of every recipe.

SAM-ON is ``sam(rho, perturb_mask=normalization_only)``; every other recipe takes the mask too, and
the gradient of every parameter still comes from the second pass. The norm runs over the selected
leaves alone, so the length of the perturbation is rho whatever the mask selects. Fewer parameters
need larger radii. Best of a sweep for a WRN-28-10 on CIFAR-100:

==============================================  ====  ==================
ascent                                          all   normalization_only
==============================================  ====  ==================
:func:`scale_to_radius`                         0.2   1.0
:func:`scale_to_adaptive_radius`                5     10
:func:`scale_to_layerwise_radius`               0.05  0.5
:func:`scale_to_adaptive_linf_radius`           0.01  0.1
==============================================  ====  ==================

Masks work for Flax Linen and for NNX states, and come out as trees of Python bools.

Source:
    Mueller et al., NeurIPS 2023, arXiv 2306.04226, the radii from its first figure;
    mueller-mp/SAM-ON @8b8869a.

Differences:
    1. The authors' code looks for "norm" or "bn" anywhere in a parameter's name; here the layer's
       name decides, see :func:`is_normalization`.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

# Linen's BatchNorm_0 and what people call such layers in NNX, where names are theirs to choose.
_LAYER_NAME = re.compile(r"(\w*norm|bn|ln|gn)_?\d*", re.IGNORECASE)


def normalization_only(params: optax.Params) -> Any:
    """Select scales and offsets of normalization layers: SAM-ON.

    Args:
        params: any pytree of parameters whose modules are told by name.

    Returns:
        A tree of bools like ``params``; all False where there is no such layer, and then nothing
        is perturbed.

    Example:
        >>> normalization_only({"Conv_0": {"kernel": 1.0}, "BatchNorm_0": {"scale": 1.0}})
        {'BatchNorm_0': {'scale': True}, 'Conv_0': {'kernel': False}}
    """
    return jax.tree_util.tree_map_with_path(is_normalization, params)


def all_but_normalization(params: optax.Params) -> Any:
    """Select everything else: the complement that SAM-ON is compared with.

    Args:
        params: any pytree of parameters whose modules are told by name.

    Returns:
        A tree of bools like ``params``.

    Example:
        >>> all_but_normalization({"Conv_0": {"kernel": 1.0}, "BatchNorm_0": {"scale": 1.0}})
        {'BatchNorm_0': {'scale': False}, 'Conv_0': {'kernel': True}}
    """
    return jax.tree.map(lambda selected: not selected, normalization_only(params))


def last_layer(params: optax.Params) -> Any:
    """Select the classifier: the one dense layer at the top level of a model, or its last one.

    Args:
        params: parameters of a Flax model by name; dense layers hold a "kernel" of two axes.

    Returns:
        A tree of bools like ``params``.

    Raises:
        ValueError: where no dense layer stands at the top level, or several do that are not one
            numbered series such as Linen's Dense_0, Dense_1. Say then which one you mean:
            ``perturb_mask={"head": True, ...}``.

    Example:
        >>> import numpy as np
        >>> dense = {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}
        >>> last_layer({"Dense_0": dense, "Dense_1": dense})["Dense_1"]
        {'bias': True, 'kernel': True}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = {
        path[0]
        for path, leaf in leaves
        if len(names_of(path)) == 2 and names_of(path)[1] == "kernel" and leaf.ndim == 2
    }
    numbered = {name: re.fullmatch(r"(\D*)(\d*)", names_of((name,))[0]) for name in names}
    stems = {match[1] if match else name for name, match in numbered.items()}
    if len(stems) != 1:
        found = ", ".join(sorted(names_of((name,))[0] for name in names)) or "none"
        raise ValueError(
            "last_layer: params must have one dense layer, or one numbered series of them, at the "
            f"top level, found {found}; pass a tree of bools that selects the one you mean."
        )
    last = max(names, key=lambda name: int(match[2] or 0) if (match := numbered[name]) else 0)
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0] == last, params)


MASKS: dict[str, Callable[[optax.Params], Any] | None] = {
    "all": None,
    "normalization_only": normalization_only,
    "all_but_normalization": all_but_normalization,
    "last_layer": last_layer,
}
"""Masks by name; None perturbs every parameter."""


def is_normalization(path: tuple[Any, ...], leaf: Any) -> bool:
    """Tell whether a parameter belongs to a normalization layer, by the name of its module.

    For `jax.tree_util.tree_map_with_path`, to build masks of one's own: of parameters that weight
    decay should leave alone, for example. The module counts if its name ends in "norm", whatever
    its case, or is "bn", "ln" or "gn", in each case with or without a number: all of Linen's own
    names, and NNX attributes such as `norm1` or `bn`.

    Args:
        path: key path of a leaf in a tree of parameters.
        leaf: not looked at.

    Returns:
        Whether the leaf is a scale or an offset of a normalization layer.

    Example:
        >>> params = {"block": {"norm1": {"scale": 1.0}, "normal": {"kernel": 1.0}}}
        >>> jax.tree_util.tree_map_with_path(is_normalization, params)
        {'block': {'norm1': {'scale': True}, 'normal': {'kernel': False}}}
    """
    del leaf
    names = names_of(path)
    return len(names) > 1 and _LAYER_NAME.fullmatch(names[-2]) is not None


def names_of(path: tuple[Any, ...]) -> list[str]:
    """Name every level of the path of a leaf, in Linen and NNX trees alike.

    Args:
        path: key path of a leaf, as from `jax.tree_util.tree_leaves_with_path`.

    Returns:
        The names from the top down; none for a tree that is one leaf.
    """
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    # NNX states that still hold variables have one key more.
    return names[:-1] if names and names[-1] in ("value", "raw_value") else names
