"""A multi-layer perceptron on flattened images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class MLP(nn.Module):
    """A multi-layer perceptron with ReLU for flattened inputs.

    The call takes a float array `(n, ...)` and returns float32 logits `(n, num_classes)`. Without
    hidden layers it is a linear classifier. Kernels are initialized LeCun normal and biases zero,
    the defaults of Flax. There is no dropout and no normalization, so `train` has no effect.

    Attributes:
        num_classes: number of logits.
        hidden_widths: width of each hidden layer, first to last.
        dtype: dtype of the hidden layers' computation. Parameters and the last layer are float32.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = MLP(num_classes=10, hidden_widths=(32,))
        >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        >>> model.apply(variables, jnp.zeros((5, 8, 8, 1))).shape
        (5, 10)
    """

    num_classes: int
    hidden_widths: tuple[int, ...] = (256, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Map inputs `(n, ...)` to logits `(n, num_classes)`; `train` has no effect."""
        del train
        hidden = jnp.reshape(inputs, (inputs.shape[0], -1))
        for width in self.hidden_widths:
            hidden = nn.relu(nn.Dense(width, dtype=self.dtype)(hidden))
        return nn.Dense(self.num_classes, dtype=jnp.float32)(hidden)
