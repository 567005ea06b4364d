"""The models of the catalogue as Flax NNX modules.

The Linen modules of `saner_jax.models` hold the numbers of each architecture; the modules here read
them, so both have the same parameters, and `load_linen` and `to_linen` carry them over.
"""

from saner_jax.models.nnx._convert import as_nnx, build, load_linen, to_linen
from saner_jax.models.nnx._dense import MLP, Attention, EncoderBlock, ViT
from saner_jax.models.nnx._residual import (
    BasicBlock,
    Bottleneck,
    ConvNorm,
    PreActivationBlock,
    ResNet,
    WideResNet,
)

__all__ = [
    "MLP",
    "Attention",
    "BasicBlock",
    "Bottleneck",
    "ConvNorm",
    "EncoderBlock",
    "PreActivationBlock",
    "ResNet",
    "ViT",
    "WideResNet",
    "as_nnx",
    "build",
    "load_linen",
    "to_linen",
]
