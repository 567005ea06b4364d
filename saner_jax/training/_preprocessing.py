"""From the inputs of examples to those of a model: subtract and divide."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from saner_jax.data import Inputs, input_statistics


class Preprocessing(NamedTuple):
    """Subtract a shift and divide by a scale, in float32.

    Attributes:
        shift: float32, as many axes as a batch of inputs, and of sizes that fit.
        scale: as `shift`.
    """

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __call__(self, inputs: Any) -> jax.Array:
        """Return (inputs - shift) / scale."""
        return (jnp.asarray(inputs).astype(jnp.float32) - self.shift) / self.scale


def standardize(inputs: Inputs, *, divide: bool = True) -> Preprocessing:
    """Return what centers inputs, and gives them a standard deviation of 1.

    Args:
        inputs: uint8 images `(n, h, w, channels)` or float32 features `(n, ...)`.
        divide: whether images are divided by the standard deviation of each channel, rather than by
            255. Features are always divided by their own.

    Returns:
        The mean and the scale, per channel of images or per feature. A channel or feature of one
        value is centered alone.

    Example:
        >>> standardize(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))(np.ones((1, 2))).tolist()
        [[-1.0, -4.0]]
    """
    mean, deviation = input_statistics(inputs)
    is_images = inputs.dtype == np.uint8
    # Of the inputs' rank, for those who run with JAX's rank promotion off.
    shape = (1,) * (inputs.ndim - mean.ndim) + mean.shape
    mean, deviation = mean.reshape(shape), deviation.reshape(shape)
    # A channel or feature of one value has nothing to scale.
    whole, smallest = (255, 1e-6) if is_images else (1, 1e-12)
    scale = np.full_like(mean, whole)
    if divide or not is_images:
        scale = np.where(deviation < smallest, scale, deviation)
    return Preprocessing(mean, scale)
