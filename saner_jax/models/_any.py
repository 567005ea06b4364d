"""Take a model of any library apart: parameters, the arrays beside them, and a forward pass."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saner_jax.models._forward import Forward

# One kind of random numbers, whatever JAX's default is, so that a run is the same elsewhere.
_KEYS = "threefry2x32"
_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "inference": False,
}
"""Arguments by which models know training, with their value in training."""


class ModelParts(NamedTuple):
    """A model as pure functions of arrays.

    Attributes:
        params: the parameters, a pytree of arrays.
        statistics: the arrays that the model keeps beside them, such as the running statistics of
            batch normalization and the keys of dropout; `{}` where it keeps nothing.
        forward: the forward pass. Passes with the same statistics drop the same units, so both
            passes of a step do; new statistics have new keys.
    """

    params: Any
    statistics: Any
    forward: Forward


class Pair(NamedTuple):
    """A model as two functions of one's own, for `parts_of`.

    Attributes:
        init: takes a typed key and inputs `(1, ...)`; returns parameters and statistics, `{}` if
            the model keeps nothing beside the parameters.
        apply: the forward pass, see `Forward`.
    """

    init: Callable[[jax.Array, jax.Array], tuple[Any, Any]]
    apply: Forward


def parts_of(model: Any, inputs: Any, *, seed: int = 0) -> ModelParts:
    """Take a model apart.

    Args:
        model: one of four.

            - A Flax Linen module. Its call takes inputs, and may take `train`, `training`,
              `is_training`, `deterministic` or `inference`. It is initialized by the seed.
            - A Flax NNX module, initialized. Its call takes inputs alone. It is left as it is.
            - An Equinox module, initialized, or a pair of one and its state as from
              `equinox.nn.make_with_state`. Its call takes one example and may take `state`, which
              it then returns after its output, and `key`. Its mean over the batch has the axis
              name "batch".
            - A `Pair` of functions.
        inputs: some examples as the model takes them, `(n, ...)`, at least one.
        seed: of the initialization and of dropout; at least 0.

    Returns:
        The parts. Their arrays are new.

    Raises:
        TypeError: for a model of another kind.
        ValueError: if the model cannot take the inputs.

    Example:
        >>> from saner_jax.models import MLP
        >>> parts = parts_of(MLP(num_classes=3), jnp.zeros((1, 4)))
        >>> parts.forward(parts.params, parts.statistics, jnp.zeros((5, 4)), train=True)[0].shape
        (5, 3)
    """
    one = jnp.asarray(inputs[:1])
    key = jax.random.key(np.uint32(seed), impl=_KEYS)
    kind = _kind_of(model)
    if kind is None:
        raise TypeError(
            "model must be a module of Flax Linen, Flax NNX or Equinox, or a saner_jax.models.Pair,"
            f" got {type(model).__name__}"
        )
    try:
        parts = kind(model, one, key)
        # Models of batch statistics need more than one example in training.
        two = jax.ShapeDtypeStruct((2, *one.shape[1:]), one.dtype)
        for train in (False, True):
            told = jax.eval_shape(
                lambda p, s, x, train=train: parts.forward(p, s, x, train=train),
                parts.params,
                parts.statistics,
                two,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"model {type(model).__name__} cannot take inputs {tuple(one.shape)}: {reason}"
        ) from error
    logits, statistics = told
    if getattr(logits, "ndim", 0) != 2 or logits.shape[0] != 2:
        shape = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(
            f"model {type(model).__name__} must return logits (n, classes), got {shape} for n = 2"
        )
    if jax.tree.structure(statistics) != jax.tree.structure(parts.statistics):
        raise ValueError(
            f"model {type(model).__name__} must return statistics of the structure it was given"
        )
    params, statistics = jax.tree.map(jnp.array, (parts.params, parts.statistics))
    return ModelParts(params, statistics, parts.forward)


def _kind_of(model: Any) -> Callable[[Any, Any, Any], ModelParts] | None:
    """Return the function that takes a model apart, without importing libraries it is not of."""
    if isinstance(model, Pair):
        return _pair_parts
    base = model[0] if isinstance(model, tuple) and len(model) == 2 else model
    names = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(base).__mro__}
    if "equinox.Module" in names:
        return _equinox_parts
    if "flax.Module" in names:
        from flax import nnx

        return _nnx_parts if isinstance(model, nnx.Module) else _linen_parts
    return None


def _pair_parts(model: Pair, one: Any, key: Any) -> ModelParts:
    params, statistics = model.init(key, one)
    return ModelParts(params, statistics, model.apply)


def _flag_of(call: Any) -> tuple[str, bool] | None:
    """Return the argument by which a call knows training, and its value in training."""
    given = inspect.signature(call).parameters
    return next(((name, _FLAGS[name]) for name in _FLAGS if name in given), None)


def _linen_parts(model: Any, one: Any, key: Any) -> ModelParts:
    from flax import errors

    flag = _flag_of(type(model).__call__)
    flags = lambda train: {} if flag is None else {flag[0]: flag[1] is train}
    init_key, dropout_key = jax.random.split(key)
    # Dropout needs no key where it is off.
    variables = dict(
        jax.jit(lambda keys, x: model.init(keys, x, **flags(False)))(
            {"params": init_key, "dropout": dropout_key}, one
        )
    )
    params = variables.pop("params", {})
    statistics: dict[str, Any] = variables

    def apply(params: Any, statistics: Any, inputs: Any, train: bool, **more: Any) -> Any:
        kept = {"params": params, **statistics}
        if train and statistics:
            return model.apply(kept, inputs, **flags(True), mutable=list(statistics), **more)
        return model.apply(kept, inputs, **flags(train), **more), statistics

    two = jax.ShapeDtypeStruct((2, *one.shape[1:]), one.dtype)
    try:
        jax.eval_shape(lambda p, s, x: apply(p, s, x, True), params, statistics, two)
    except errors.InvalidRngError:
        return _with_key(params, statistics, apply, dropout_key)

    def forward(params: Any, statistics: Any, inputs: Any, *, train: bool) -> Any:
        return apply(params, statistics, inputs, train)

    return ModelParts(params, statistics, forward)


def _with_key(params: Any, statistics: Any, apply: Callable[..., Any], key: Any) -> ModelParts:
    """Keep the key of dropout among the statistics, and pass it in training as Linen takes it."""

    def forward(params: Any, statistics: Any, inputs: Any, *, train: bool) -> Any:
        kept = {name: value for name, value in statistics.items() if name != "dropout_key"}
        if not train:
            return apply(params, kept, inputs, False)[0], statistics
        next_key, own = jax.random.split(_typed(statistics["dropout_key"]))
        logits, kept = apply(params, kept, inputs, True, rngs={"dropout": own})
        return logits, {**kept, "dropout_key": jax.random.key_data(next_key)}

    return ModelParts(params, {**statistics, "dropout_key": jax.random.key_data(key)}, forward)


def _nnx_parts(model: Any, one: Any, key: Any) -> ModelParts:
    del one, key
    from flax import nnx

    # A copy, because whether a module trains is kept in the module.
    model = nnx.clone(model)
    bare = lambda state: nnx.to_pure_dict(nnx.as_pure(state))
    model.eval()
    evaluating, _, _ = nnx.split(model, nnx.Param, ...)
    model.train()
    training, params, rest = nnx.split(model, nnx.Param, ...)
    statistics = bare(rest)
    impls = _impls(statistics)

    def forward(params: Any, statistics: Any, inputs: Any, *, train: bool) -> Any:
        rest = nnx.State(_with_typed(statistics, impls))
        module = nnx.merge(training if train else evaluating, nnx.State(params), rest)
        logits = module(inputs)
        if not train:
            return logits, statistics
        return logits, _with_data(bare(nnx.state(module, nnx.Not(nnx.Param))))

    return ModelParts(bare(params), _with_data(statistics), forward)


def _equinox_parts(model: Any, one: Any, key: Any) -> ModelParts:
    del one
    import equinox as eqx

    model, state = model if isinstance(model, tuple) else (model, None)
    given = inspect.signature(type(model).__call__).parameters
    takes_key = "key" in given
    params, static = eqx.partition(model, eqx.is_inexact_array)
    # What is neither a parameter nor an array decides how the module computes.
    evaluating = eqx.partition(eqx.nn.inference_mode(model), eqx.is_inexact_array)[1]
    statistics: dict[str, Any] = {} if state is None else {"state": state}
    if takes_key:
        statistics["key"] = jax.random.key_data(key)

    def forward(params: Any, statistics: Any, inputs: Any, *, train: bool) -> Any:
        module = eqx.combine(params, static if train else evaluating)
        new, keys = dict(statistics), None
        if takes_key and train:
            next_key, own = jax.random.split(_typed(statistics["key"]))
            new["key"], keys = jax.random.key_data(next_key), jax.random.split(own, len(inputs))

        def call(x: Any, key: Any, state: Any) -> Any:
            more = {"key": key} if takes_key else {}
            return module(x, **more) if state is None else module(x, state, **more)

        axes = (0, None if keys is None else 0, None)
        if "state" not in statistics:
            return jax.vmap(call, axes, axis_name="batch")(inputs, keys, None), new
        logits, new["state"] = jax.vmap(call, axes, (0, None), axis_name="batch")(
            inputs, keys, statistics["state"]
        )
        return logits, new if train else statistics

    return ModelParts(params, statistics, forward)


def _typed(data: Any) -> Any:
    return jax.random.wrap_key_data(data, impl=_KEYS)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", jnp.float32), jax.dtypes.prng_key)


def _impls(tree: Any) -> Any:
    """Return for each leaf the kind of random numbers of a key, or ""."""
    return jax.tree.map(lambda leaf: str(jax.random.key_impl(leaf)) if _is_key(leaf) else "", tree)


def _with_data(tree: Any) -> Any:
    """Replace typed keys by plain arrays, which any checkpoint can hold."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_typed(tree: Any, impls: Any) -> Any:
    wrap = lambda leaf, impl: jax.random.wrap_key_data(leaf, impl=impl) if impl else leaf
    return jax.tree.map(wrap, tree, impls)
