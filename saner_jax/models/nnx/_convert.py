"""Build an NNX net from the numbers of a Linen one, and carry variables from one to the other."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from saner_jax.models._catalogue import build as build_linen
from saner_jax.models._mlp import MLP as LinenMLP
from saner_jax.models._resnet import ResNet as LinenResNet
from saner_jax.models._vit import ViT as LinenViT
from saner_jax.models._wide_resnet import WideResNet as LinenWideResNet
from saner_jax.models.nnx._dense import MLP, Attention, ViT
from saner_jax.models.nnx._residual import ResNet, WideResNet

# The Linen names of layers; those of blocks are the same in both.
_LINEN_NAMES = {"Linear": "Dense"}
_COLLECTIONS = {nnx.Param: "params", nnx.BatchStat: "batch_stats"}


def build(
    name: str, num_classes: int, input_shape: tuple[int, ...], *, rngs: nnx.Rngs, **options: Any
) -> nnx.Module:
    """Build a model of the catalogue by its name.

    Args:
        name: a key of `saner_jax.models.MODELS`.
        num_classes: number of logits.
        input_shape: of one example: `(h, w, channels)`, or any shape for "mlp".
        rngs: random numbers of the initial parameters.
        **options: as for `saner_jax.models.build`: `norm`, `width`, `dtype` and others.

    Returns:
        The module, initialized and in training mode. Its call takes float32 inputs `(n, ...)` and
        returns float32 logits. Its first draw is not that of the Linen module of the same seed.

    Raises:
        ValueError: for what `saner_jax.models.build` refuses, and inputs that the model cannot
            take.
        TypeError: for what `saner_jax.models.build` refuses.

    Example:
        >>> model = build("resnet8", 10, (32, 32, 3), rngs=nnx.Rngs(0))
        >>> model(jnp.zeros((2, 32, 32, 3))).shape
        (2, 10)
        >>> sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
        308650
    """
    return as_nnx(build_linen(name, num_classes, **options), input_shape, rngs=rngs)


def as_nnx(module: Any, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> nnx.Module:
    """Build the NNX module with the numbers of a Linen module.

    Args:
        module: of the classes `MLP`, `ResNet`, `WideResNet` or `ViT` of `saner_jax.models`.
        input_shape: of one example.
        rngs: random numbers of the initial parameters.

    Returns:
        The module, initialized.

    Raises:
        TypeError: for a module of another class.
        ValueError: for inputs that the model cannot take.
    """
    if isinstance(module, LinenMLP):
        return MLP(module, math.prod(input_shape), rngs=rngs)
    makers: dict[Any, Any] = {LinenResNet: ResNet, LinenWideResNet: WideResNet}
    if type(module) not in (*makers, LinenViT):
        raise TypeError(f"as_nnx: module must be a net of saner_jax.models, got {module!r}")
    if len(input_shape) != 3:
        raise ValueError(f"as_nnx: input_shape must be (h, w, channels), got {input_shape!r}")
    if isinstance(module, LinenViT):
        height, width, channels = input_shape
        return ViT(module, (height, width, channels), rngs=rngs)
    return makers[type(module)](module, input_shape[-1], rngs=rngs)


def to_linen(model: nnx.Module) -> dict[str, Any]:
    """Return the variables of an NNX net as its Linen module takes them.

    Args:
        model: as from `build` or `as_nnx`.

    Returns:
        The collections "params" and, with batch normalization, "batch_stats".

    Example:
        >>> model = build("mlp", 2, (3,), rngs=nnx.Rngs(0), hidden_widths=(4,))
        >>> jax.tree.map(jnp.shape, to_linen(model))["params"]["Dense_1"]
        {'bias': (2,), 'kernel': (4, 2)}
    """
    variables: dict[str, Any] = {}
    for path, variable in _leaves(model):
        place = variables
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = variable[...]
    return variables


def load_linen(model: nnx.Module, variables: Any) -> None:
    """Give an NNX net the variables of its Linen module.

    Args:
        model: as from `build` or `as_nnx`; it is changed.
        variables: as from `to_linen`, or those of a Linen module: of its `init`, or of a run as
            `{"params": ..., "batch_stats": ...}`.

    Raises:
        ValueError: for variables of another net; the model is left as it was.

    Example:
        >>> linen = build_linen("resnet8", 10)
        >>> images = jnp.ones((1, 8, 8, 3))
        >>> variables = linen.init(jax.random.key(0), images)
        >>> model = build("resnet8", 10, (8, 8, 3), rngs=nnx.Rngs(0))
        >>> load_linen(model, variables)
        >>> model.eval()
        >>> bool(jnp.allclose(model(images), linen.apply(variables, images)))
        True
    """
    own = dict(_leaves(model))
    given = {
        tuple(str(key.key) for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables))
    }
    for path in [*own, *given]:
        shapes = [jnp.shape(leaves[path]) if path in leaves else None for leaves in (own, given)]
        if shapes[0] != shapes[1]:
            told = [f"shape {shape}" if shape is not None else "nothing" for shape in shapes]
            raise ValueError(
                f"load_linen: {'/'.join(path)} must have {told[0]}, got {told[1]}; build the model"
                " with the numbers of the variables"
            )
    for path, variable in own.items():
        variable[...] = jnp.asarray(given[path], variable[...].dtype)


def _leaves(model: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the Linen path of every variable, and the variable."""
    for path, variable in _variables(model, (), Counter()):
        yield (_COLLECTIONS[type(variable)], *path), variable


def _variables(
    module: Any, path: tuple[str, ...], counts: Counter[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk a module; `counts` are the layers of each kind so far in its Linen module."""
    # The attributes themselves lose their order when NNX merges a module.
    for name in getattr(module, "calls", sorted(vars(module))):
        value = getattr(module, name)
        for child in value if isinstance(value, nnx.List) else [value]:
            if isinstance(child, tuple(_COLLECTIONS)):
                yield (*path, name), child
            elif isinstance(child, nnx.Module):
                kind = type(child).__name__
                kind = getattr(child, "linen_name", _LINEN_NAMES.get(kind, kind))
                if not kind:
                    yield from _variables(child, path, counts)
                    continue
                # Attention names its layers in Linen too.
                own = name if isinstance(module, Attention) else f"{kind}_{counts[kind]}"
                counts[kind] += 1
                yield from _variables(child, (*path, own), Counter())
