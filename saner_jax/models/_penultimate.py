"""Compute a model's logits together with the input and weights of its last layer."""

from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax

from saner_jax.models._forward import forward_of


class Penultimate(NamedTuple):
    """The logits of a model, with the input and the weights of its last layer.

    Attributes:
        logits: `(n, num_classes)`.
        activations: `(n, features)`, the input of the last `nn.Dense`.
        last_layer_weights: `(features, num_classes)`, the kernel of the last `nn.Dense`. It is a
            part of the parameters, so gradients flow to them.
    """

    logits: jax.Array
    activations: jax.Array
    last_layer_weights: jax.Array


class PenultimateForward(Protocol):
    """A function like `Forward` whose first result is a `Penultimate` instead of logits."""

    def __call__(
        self, params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[Penultimate, Any]:
        """Return the `Penultimate` and the statistics after this pass."""
        ...


def with_penultimate(model: nn.Module) -> PenultimateForward:
    """Return a forward function that also returns the input and the kernel of the last layer.

    The function intercepts the calls of `nn.Dense`; the last call is the last layer. The model, its
    parameters and its logits do not change, and under `jax.jit` nothing is computed twice.

    Args:
        model: a Linen module whose call takes `train` and ends in an `nn.Dense`, as all of
            `MODELS` do.

    Returns:
        A function like that of `forward_of`, whose first result is a `Penultimate`.

    Raises:
        ValueError: when called, for a model without `nn.Dense`.

    Limits:
        The last layer must not be inside `nn.remat`, `nn.scan` or another lifted transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> from saner_jax.models import MLP
        >>> model, images = MLP(num_classes=3, hidden_widths=(8,)), jnp.ones((5, 2, 2, 1))
        >>> params = model.init(jax.random.key(0), images)["params"]
        >>> outputs, _ = with_penultimate(model)(params, {}, images, train=True)
        >>> outputs.activations.shape, outputs.last_layer_weights.shape
        ((5, 8), (8, 3))
    """
    run = forward_of(model)

    def forward(
        params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[Penultimate, Any]:
        last: list[tuple[jax.Array, jax.Array]] = []

        def keep_last(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            result = call(*args, **kwargs)
            if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
                last[:] = [(args[0], context.module.variables["params"]["kernel"])]
            return result

        with nn.intercept_methods(keep_last):
            logits, statistics = run(params, statistics, inputs, train=train)
        if not last:
            raise ValueError("with_penultimate: the model must end in an nn.Dense, got one without")
        return Penultimate(logits, *last[0]), statistics

    return forward
