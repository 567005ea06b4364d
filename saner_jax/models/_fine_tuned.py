"""EfficientNet-Lite0 that begins with the weights of ImageNet, for fine-tuning."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from saner_jax.models._efficientnet import EfficientNetLite0
from saner_jax.models._pretrained import pretrained_variables


class FineTunedEfficientNetLite0(EfficientNetLite0):
    """EfficientNet-Lite0 whose initial variables are those of ImageNet, but for the last layer.

    It takes float32 images `(n, h, w, channels)` of any size, (pixels - 127) / 128, with three
    channels or one, which is repeated.

    Attributes:
        num_classes: number of logits, at least 1.
        dtype: see `EfficientNetLite0`.

    Raises:
        ValueError: by `init`, if the weights are not installed (extra "pretrained"), and for images
            of another number of channels.

    Limits:
        A net of 4.7 million parameters that halves images five times: below 64 x 64 pixels little
        is left to see.

    Example:
        >>> import numpy as np
        >>> model = FineTunedEfficientNetLite0(3)
        >>> params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
        >>> stem = pretrained_variables()["params"]["stem"]["kernel"]
        >>> bool((params["stem"]["kernel"] == stem).all()), params["head"]["kernel"].shape
        (True, (1280, 3))
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, channels)` to logits `(n, num_classes)`."""
        channels = images.shape[-1]
        if channels not in (1, 3):
            raise ValueError(f"it takes images of 1 or 3 channels, got {channels}")
        images = jnp.repeat(images, 3, axis=-1) if channels == 1 else images
        return super().__call__(images, train)

    @nn.nowrap
    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the last layer, and take all other variables from ImageNet.

        Args:
            *args: as for `flax.linen.Module.init`.
            **kwargs: as for `flax.linen.Module.init`.

        Returns:
            The collections "params" and "batch_stats".

        Raises:
            ValueError: if the weights are not installed.
        """
        drawn = dict(super().init(*args, **kwargs))
        pretrained = jax.tree.map(jnp.asarray, pretrained_variables())
        # The last layer is for classes of its own.
        pretrained["params"]["head"] = drawn["params"]["head"]
        return drawn | pretrained
