"""Flax Linen models for images of shape `(n, h, w, channels)`."""

from saner_jax.models.catalogue import MODELS as MODELS
from saner_jax.models.catalogue import build as build
from saner_jax.models.mlp import MLP as MLP
from saner_jax.models.normalization import NORMS as NORMS
from saner_jax.models.penultimate import Penultimate as Penultimate
from saner_jax.models.penultimate import with_penultimate as with_penultimate
from saner_jax.models.resnet import ResNet as ResNet
from saner_jax.models.vit import ViT as ViT
from saner_jax.models.wide_resnet import WideResNet as WideResNet

__all__ = [
    "MLP",
    "MODELS",
    "NORMS",
    "Penultimate",
    "ResNet",
    "ViT",
    "WideResNet",
    "build",
    "with_penultimate",
]
