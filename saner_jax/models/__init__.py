"""Flax Linen models for images of shape `(n, h, w, channels)`."""

from saner_jax.models._any import ModelParts, Pair, parts_of
from saner_jax.models._catalogue import FINE_TUNED, MODELS, build
from saner_jax.models._efficientnet import Depthwise, EfficientNetLite0, InvertedBlock
from saner_jax.models._fine_tuned import FineTunedEfficientNetLite0
from saner_jax.models._forward import Forward, forward_of, is_dense, is_dense_program
from saner_jax.models._layers import (
    convolve,
    read_out,
)
from saner_jax.models._mlp import MLP
from saner_jax.models._normalization import NORMS, checked_norm, normalize
from saner_jax.models._penultimate import Penultimate, PenultimateForward, with_penultimate
from saner_jax.models._pretrained import (
    NUM_FEATURES,
    PRETRAINED_SCALE,
    PRETRAINED_SHIFT,
    features,
    make_features,
    pretrained_file,
    pretrained_variables,
)
from saner_jax.models._resnet import BasicBlock, Bottleneck, ResNet
from saner_jax.models._torch_file import read_state_dict
from saner_jax.models._vit import EncoderBlock, ViT
from saner_jax.models._wide_resnet import PreActivationBlock, WideResNet

__all__ = [
    "FINE_TUNED",
    "MLP",
    "MODELS",
    "NORMS",
    "NUM_FEATURES",
    "PRETRAINED_SCALE",
    "PRETRAINED_SHIFT",
    "BasicBlock",
    "Bottleneck",
    "Depthwise",
    "EfficientNetLite0",
    "EncoderBlock",
    "FineTunedEfficientNetLite0",
    "Forward",
    "InvertedBlock",
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
    "features",
    "forward_of",
    "is_dense",
    "is_dense_program",
    "make_features",
    "normalize",
    "parts_of",
    "pretrained_file",
    "pretrained_variables",
    "read_out",
    "read_state_dict",
    "with_penultimate",
]
