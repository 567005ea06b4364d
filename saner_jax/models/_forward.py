"""One signature for the forward pass of any model."""

from typing import Any, Protocol

import jax


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
