"""Flax Linen models for images of shape `(n, h, w, channels)`."""

from saner_jax.models._any import ModelParts, Pair, parts_of
from saner_jax.models._catalogue import MODELS, build
from saner_jax.models._forward import Forward, forward_of, is_dense, is_dense_program
from saner_jax.models._layers import (
    convolve,
    read_out,
)
from saner_jax.models._mlp import MLP
from saner_jax.models._normalization import NORMS, checked_norm, normalize
from saner_jax.models._penultimate import Penultimate, PenultimateForward, with_penultimate
from saner_jax.models._resnet import BasicBlock, Bottleneck, ResNet
from saner_jax.models._vit import EncoderBlock, ViT
from saner_jax.models._wide_resnet import PreActivationBlock, WideResNet

__all__ = [
    "MLP",
    "MODELS",
    "NORMS",
    "BasicBlock",
    "Bottleneck",
    "EncoderBlock",
    "Forward",
    "ModelParts",
    "Pair",
    "Penultimate",
    "PenultimateForward",
    "PreActivationBlock",
    "ResNet",
    "ViT",
    "WideResNet",
    "build",
    "checked_norm",
    "convolve",
    "forward_of",
    "is_dense",
    "is_dense_program",
    "normalize",
    "parts_of",
    "read_out",
    "with_penultimate",
]
