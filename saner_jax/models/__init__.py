"""Flax Linen models for images of shape `(n, h, w, channels)`."""

from saner_jax.models.mlp import MLP as MLP

__all__ = ["MLP"]
