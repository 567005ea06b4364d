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

Masks work for the trees of Flax Linen, NNX, Equinox and Haiku, and come out as trees of Python
bools. A mask that selects nothing is refused by every recipe; :func:`describe_mask` lists what one
selects.

Source:
    Mueller et al., NeurIPS 2023, arXiv 2306.04226, the radii from its first figure;
    mueller-mp/SAM-ON @8b8869a.

Differences:
    1. The authors' code looks for "norm" or "bn" anywhere in a parameter's name; here the words of
       the layer's name decide, or its parameters, see :func:`normalization_only`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from saner_jax._core._names import names_of
from saner_jax._core._trees import Mask, resolve_mask
from saner_jax.step._layer_names import is_head_name, is_normalization_name, split_number

# Running statistics beside the parameters of a layer.
_STATISTICS = frozenset(
    [
        *("mean", "var", "count", "num_batches_tracked"),
        *("moving_mean", "moving_variance", "running_mean", "running_var"),
    ]
)
_SCALES, _OFFSETS = frozenset(("scale", "weight", "gamma")), frozenset(("bias", "beta", "offset"))
_MATRICES = frozenset(("kernel", "w", "weight"))


def normalization_only(params: optax.Params) -> Any:
    """Select scales and offsets of normalization layers: SAM-ON.

    A layer counts if its name has a word for it and its arrays have one shape: "norm" at the end of
    a word, "normalization", "bn", "ln", "gn" or "rms", as in `LayerNorm_0`, `ln_f`,
    `downsample_bn`, `batch_normalization_3` and Haiku's `resnet/~/layer_norm`. Weight and spectral
    normalization do not count, because they normalize no activations. A layer of another name, such
    as Equinox's `layers/1`, counts if all it has are a scale and an offset of one axis, or a
    `scale` or `weight` alone.

    Args:
        params: any pytree of parameters.

    Returns:
        A tree of bools like ``params``; all False where there is no such layer, which recipes
        refuse. Running statistics are never selected.

    Limits:
        LayerScale's lone `gamma` is no normalization. A `scale` or `weight` of one axis that stands
        alone for another reason is taken for RMSNorm's; see :func:`describe_mask`.

    Example:
        >>> normalization_only({"Conv_0": {"kernel": 1.0}, "BatchNorm_0": {"scale": 1.0}})
        {'BatchNorm_0': {'scale': True}, 'Conv_0': {'kernel': False}}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    modules: dict[tuple[str, ...], dict[str, Any]] = {}
    for path, leaf in leaves:
        *module, name = names_of(path) or [""]
        modules.setdefault(tuple(module), {})[name] = leaf
    selected = {module for module, own in modules.items() if _is_normalization(module, own)}

    def is_selected(path: tuple[Any, ...], _: Any) -> bool:
        *module, name = names_of(path) or [""]
        return tuple(module) in selected and name not in _STATISTICS

    return jax.tree_util.tree_map_with_path(is_selected, params)


def _is_normalization(module: tuple[str, ...], leaves: dict[str, Any]) -> bool:
    """Return whether a module with these arrays of its own is a normalization layer."""
    own = {name: np.shape(leaf) for name, leaf in leaves.items() if name not in _STATISTICS}
    if not module or not own or "kernel" in own or len(set(own.values())) > 1:
        return False
    if is_normalization_name(module[-1]):
        return True
    shape = next(iter(own.values()))
    if len(shape) != 1 or shape[0] < 2 or not own.keys() <= _SCALES | _OFFSETS:
        return False
    is_pair = len(own) == 2 and bool(own.keys() & _SCALES) and bool(own.keys() & _OFFSETS)
    return is_pair or own.keys() in ({"scale"}, {"weight"})


def is_normalization(path: tuple[Any, ...], leaf: Any) -> bool:
    """Return whether a parameter belongs to a normalization layer, by the name of its layer alone.

    For `jax.tree_util.tree_map_with_path`, to build masks of one's own: of parameters that weight
    decay should leave alone, for example. The words are those of :func:`normalization_only`.

    Args:
        path: key path of a leaf in a tree of parameters.
        leaf: not used.

    Returns:
        Whether the leaf is a scale or an offset of a layer with such a name.

    Example:
        >>> params = {"block": {"norm1": {"scale": 1.0}, "normal": {"kernel": 1.0}}}
        >>> jax.tree_util.tree_map_with_path(is_normalization, params)
        {'block': {'norm1': {'scale': True}, 'normal': {'kernel': False}}}
    """
    del leaf
    names = names_of(path)
    is_own = names[-1] not in (*_STATISTICS, "kernel") if names else False
    return len(names) > 1 and is_own and is_normalization_name(names[-2])


def all_but_normalization(params: optax.Params) -> Any:
    """Select everything else: the complement that SAM-ON is compared with.

    Args:
        params: any pytree of parameters.

    Returns:
        A tree of bools like ``params``.

    Example:
        >>> all_but_normalization({"Conv_0": {"kernel": 1.0}, "BatchNorm_0": {"scale": 1.0}})
        {'BatchNorm_0': {'scale': False}, 'Conv_0': {'kernel': True}}
    """
    return jax.tree.map(lambda selected: not selected, normalization_only(params))


def last_layer(params: optax.Params) -> Any:
    """Select the classifier: the one dense layer at the top level of a model, or its last one.

    Of several, the one counts that is named "head", "classifier", "logits" or "predictions".

    Args:
        params: parameters by name; dense layers hold a "kernel", "w" or "weight" of two axes. Names
            that all parameters begin with, such as Haiku's name of the model, do not count.

    Returns:
        A tree of bools like ``params``.

    Raises:
        ValueError: for no dense layer at the top level, and for several without such a name that
            are not one numbered series such as Linen's Dense_0, Dense_1. Then name the one that you
            mean: ``perturb_mask={"head": True, ...}``.

    Example:
        >>> dense = {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}
        >>> last_layer({"Dense_0": dense, "Dense_1": dense})["Dense_1"]
        {'bias': True, 'kernel': True}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    paths = [tuple(names_of(path)) for path, _ in leaves]
    depth = _common_depth(paths)
    dense = {
        names[depth]
        for names, (_, leaf) in zip(paths, leaves, strict=True)
        if len(names) == depth + 2 and names[-1] in _MATRICES and np.ndim(leaf) == 2
    }
    heads = {name for name in dense if is_head_name(name)}
    dense = heads if len(heads) == 1 else dense
    numbered = {name: split_number(name) for name in dense}
    if len({stem for stem, _ in numbered.values()}) != 1:
        found = ", ".join(sorted(dense)) or "none"
        raise ValueError(
            "last_layer: params must have one dense layer, or one numbered series of them, at the "
            f"top level, found {found}; pass a tree of bools that selects the one you mean."
        )
    last = max(dense, key=lambda name: numbered[name][1])
    is_in_it = lambda path, _: names_of(path)[depth : depth + 1] == [last]
    return jax.tree_util.tree_map_with_path(is_in_it, params)


def _common_depth(paths: list[tuple[str, ...]]) -> int:
    """Return how many names at the top all paths share; a module's own name does not count."""
    depth = 0
    while len(paths) > 1 and all(len(names) > depth + 2 for names in paths):
        if len({names[depth] for names in paths}) > 1:
            break
        depth += 1
    return depth


class MaskDescription(NamedTuple):
    """The parameters that a mask selects.

    Attributes:
        paths: of the selected arrays, with slashes, in the order of the tree.
        num_selected: number of parameters in them.
        num_arrays: number of arrays in the whole tree.
        num_parameters: number of parameters in the whole tree.
    """

    paths: tuple[str, ...]
    num_selected: int
    num_arrays: int
    num_parameters: int

    @property
    def share(self) -> float:
        """The share of the parameters that is selected; 0 for a tree without parameters."""
        return self.num_selected / max(self.num_parameters, 1)

    def __str__(self) -> str:
        shown = ", ".join(self.paths[:3]) + (", ..." if len(self.paths) > 3 else "")
        return (
            f"{self.num_selected:,} of {self.num_parameters:,} parameters ({self.share:.2%}) in"
            f" {len(self.paths):,} of {self.num_arrays:,} arrays: {shown or 'none'}"
        )


def describe_mask(mask: Mask, params: optax.Params) -> MaskDescription:
    """List the parameters that a mask selects, with counts and shares.

    Args:
        mask: a pytree of bools like ``params``, or a prefix of one; a function of the parameters
            that returns one; or None, which selects all.
        params: the parameters, or their shapes as from ``jax.eval_shape``.

    Returns:
        A :class:`MaskDescription`; as text, one line.

    Raises:
        ValueError: for a mask of another structure.
        TypeError: for a mask that does not hold bools.

    Example:
        >>> params = {"Dense_0": {"kernel": np.zeros((4, 3))}, "LayerNorm_0": {"scale": np.ones(3)}}
        >>> print(describe_mask(normalization_only, params))
        3 of 15 parameters (20.00%) in 1 of 2 arrays: LayerNorm_0/scale
    """
    selected = jax.tree.leaves(resolve_mask("describe_mask", "mask", mask, params))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    sizes = [int(np.prod(np.shape(leaf))) for _, leaf in leaves]
    chosen = [row for row, is_selected in enumerate(selected) if is_selected]
    return MaskDescription(
        tuple("/".join(names_of(leaves[row][0])) for row in chosen),
        sum(sizes[row] for row in chosen),
        len(leaves),
        sum(sizes),
    )


MASKS: dict[str, Callable[[optax.Params], Any] | None] = {
    "all": None,
    "normalization_only": normalization_only,
    "all_but_normalization": all_but_normalization,
    "last_layer": last_layer,
}
"""Masks by name; None perturbs every parameter."""
