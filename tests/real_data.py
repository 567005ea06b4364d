"""Paths of data outside the repository, and the marks of tests that need them."""

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"
TFDS = Path(os.environ.get("SANER_JAX_TFDS", _SHARED / "tfds"))
CIFAR_N = Path(os.environ.get("SANER_JAX_CIFAR_N", _SHARED / "cifar_n"))

needs_cifar_10 = pytest.mark.skipif(
    not (TFDS / "cifar10").is_dir(),
    reason=f"CIFAR-10 in TFDS layout is not in {TFDS}; set SANER_JAX_TFDS (see CONTRIBUTING.md)",
)
needs_cifar_n = pytest.mark.skipif(
    not CIFAR_N.is_dir(),
    reason=f"CIFAR-N is not in {CIFAR_N}; set SANER_JAX_CIFAR_N (see CONTRIBUTING.md)",
)
