"""A multi-layer perceptron on flattened images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class MLP(nn.Module):
    """Classify flattened inputs with ReLU layers and a linear read-out.

    The call takes a float array `(n, ...)` and returns float32 logits `(n, num_classes)`; no
    hidden widths make it a linear classifier. Kernels start LeCun normal and biases at zero,
    Flax's own defaults. There is no dropout and no normalization, so training and evaluation are
    one call.

    Attributes:
        num_classes: width of the output.
        hidden_widths: width of each hidden layer, first to last.
        dtype: of the hidden layers' products; parameters and the read-out are float32.

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
        """Map inputs `(n, ...)` to logits `(n, num_classes)`, the same in training or not."""
        del train
        hidden = jnp.reshape(inputs, (inputs.shape[0], -1))
        for width in self.hidden_widths:
            hidden = nn.relu(nn.Dense(width, dtype=self.dtype)(hidden))
        return nn.Dense(self.num_classes, dtype=jnp.float32)(hidden)
