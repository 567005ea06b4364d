"""What enters a model's last layer, beside its logits and without a second model."""

from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax

from saner_jax.models._forward import forward_of


class Penultimate(NamedTuple):
    """Hold logits and what the last layer made them of.

    Attributes:
        logits: `(n, num_classes)`.
        activations: `(n, features)`, the input of the last `nn.Dense`.
        last_layer_weights: `(features, num_classes)`, its kernel, as part of the parameters: it
            has a gradient.
    """

    logits: jax.Array
    activations: jax.Array
    last_layer_weights: jax.Array


class PenultimateForward(Protocol):
    """Run a model as `Forward` does, to logits and what they were made of."""

    def __call__(
        self, params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[Penultimate, Any]:
        """Return the `Penultimate`, and the statistics as this pass leaves them."""
        ...


def with_penultimate(model: nn.Module) -> PenultimateForward:
    """Make a forward function that also tells the input and the kernel of the last layer.

    It watches the calls of `nn.Dense` while the model runs; the last one is the last layer. The
    model, its parameters and its logits stay what they are, and under `jax.jit` nothing is
    computed twice.

    Args:
        model: a Linen module whose call takes `train` and ends in an `nn.Dense`, as all of
            `MODELS` do.

    Returns:
        A function like that of `forward_of`, whose first result is a `Penultimate`.

    Raises:
        ValueError: when called, for a model without `nn.Dense`.

    Limits:
        The last layer may not stand inside `nn.remat`, `nn.scan` or another lifted transformation.

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

        def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            result = call(*args, **kwargs)
            if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
                last[:] = [(args[0], context.module.variables["params"]["kernel"])]
            return result

        with nn.intercept_methods(watch):
            logits, statistics = run(params, statistics, inputs, train=train)
        if not last:
            raise ValueError("with_penultimate: the model must end in an nn.Dense; it has none.")
        return Penultimate(logits, *last[0]), statistics

    return forward
