"""One signature for the forward pass of any model."""

from collections.abc import Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp


class Forward(Protocol):
    """A function (params, statistics, inputs, train) -> (logits, new statistics)."""

    def __call__(
        self, params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[Any, Any]:
        """Return logits `(n, c)` and the statistics after this pass."""
        ...


def forward_of(model: Any) -> Forward:
    """Return the `Forward` of a Flax Linen module whose call takes `train`.

    Args:
        model: the module. All collections of its variables except "params" are its statistics.

    Returns:
        The function. It changes the statistics only with `train=True`.

    Example:
        >>> import jax.numpy as jnp
        >>> from saner_jax.models import MLP
        >>> model = MLP(num_classes=3)
        >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
        >>> logits, statistics = forward_of(model)(
        ...     variables["params"], {}, jnp.zeros((5, 2, 2, 1)), train=True)
        >>> logits.shape, statistics
        ((5, 3), {})
    """

    def forward(
        params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Any]:
        variables = {"params": params, **statistics}
        if not (train and statistics):
            return model.apply(variables, inputs, train=train), statistics
        return model.apply(variables, inputs, train=True, mutable=list(statistics))

    return forward


def is_dense(model: Any, image_shape: tuple[int, ...]) -> bool:
    """Return whether the model consists of dense layers on one flat vector per example.

    On CPU, such a model gains from a loop of steps in one program and from training several seeds
    in one program. Convolutions lose by both: XLA's CPU backend is 33 to 100 times slower at their
    gradients inside a loop (jax-ml/jax#12868). Attention is slow enough by itself to gain nothing.

    Args:
        model: a Flax Linen module.
        image_shape: `(h, w, channels)` of its inputs.

    Returns:
        True if no operation is a convolution or a product of arrays of more than two axes.

    Example:
        >>> from saner_jax.models import build
        >>> is_dense(build("mlp", 10), (8, 8, 1)), is_dense(build("resnet8", 10), (8, 8, 1))
        (True, False)
    """
    blank = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return is_dense_program(jax.make_jaxpr(model.init)(jax.random.key(0), blank).jaxpr)


def is_dense_program(program: Any) -> bool:
    """Return whether a program has dense layers on one flat vector per example alone.

    Args:
        program: a jaxpr, of a forward pass or of an initialization.

    Returns:
        As `is_dense`.
    """
    return not any(
        equation.primitive.name == "conv_general_dilated"
        or (equation.primitive.name == "dot_general" and equation.outvars[0].aval.ndim > 2)
        for equation in _equations(program)
    )


def _equations(program: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and of the jaxprs inside it."""
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)
