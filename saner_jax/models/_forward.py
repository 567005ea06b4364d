"""Run a model of any kind by one signature."""

from typing import Any, Protocol

import jax


class Forward(Protocol):
    """Run a model: parameters, running statistics and inputs to logits and new statistics."""

    def __call__(
        self, params: Any, statistics: Any, inputs: jax.Array, *, train: bool
    ) -> tuple[Any, Any]:
        """Return logits `(n, c)`, and the statistics as this pass leaves them."""
        ...


def forward_of(model: Any) -> Forward:
    """Make a `Forward` of a Flax Linen module whose call takes `train`.

    Args:
        model: the module. All collections of its variables but "params" are its statistics.

    Returns:
        The function. Statistics come back changed with `train=True` only.

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
