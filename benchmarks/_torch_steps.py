# pyright: reportMissingImports=false
"""The steps to compare with, in PyTorch: the same ResNet-18, SGD, SAM of a package, SANER.

SANER has no package, so its rule stands here in plain PyTorch, as its paper states it: the gradient
at w + rho g / ||g||, times 1 - alpha where it is a shrunk g. Written for speed: no host
synchronization, horizontally fused operations over all parameters.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

NUM_CLASSES = 10


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            projection = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to (n, width, h / stride, w / stride)."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 for images of CIFAR's size, with as many parameters as saner_jax's."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [Block(width_in, width, stride), Block(width, width, 1)]
            width_in = width
        stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.body = nn.Sequential(stem, nn.BatchNorm2d(64), nn.ReLU(), *layers)
        self.head = nn.Linear(512, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, 32, 32) to logits (n, 10)."""
        return self.head(self.body(images).mean((2, 3)))


class Saner:
    """SANER around SGD with momentum."""

    def __init__(self, params: Any, rho: float, alpha: float, **options: Any) -> None:
        self.params = list(params)
        self.rho, self.alpha = rho, alpha
        self.base = torch.optim.SGD(self.params, foreach=True, **options)

    def step(self, closure: Callable[[], Any]) -> None:
        """Take a step; the closure clears gradients, computes the loss and differentiates it."""
        closure()
        with torch.no_grad():
            origin_grads = [p.grad.clone() for p in self.params if p.grad is not None]
            norms = torch._foreach_norm(origin_grads)
            scale = self.rho / torch.stack(norms).norm().clamp_min(1e-12)
            perturbation = torch._foreach_mul(origin_grads, scale)
            torch._foreach_add_(self.params, perturbation)
        closure()
        with torch.no_grad():
            torch._foreach_sub_(self.params, perturbation)
            for p, origin in zip(self.params, origin_grads, strict=True):
                assert p.grad is not None
                ratio = p.grad / origin
                is_shrunk = (ratio > 0) & (ratio < 1)
                p.grad.mul_(1 - self.alpha * is_shrunk)
        self.base.step()


def make_step(
    method: str, batch_size: int, device: str, *, compiled: bool, bfloat16: bool
) -> Callable[[], None]:
    """Build a function that takes one training step on fixed random images.

    Compiled means `torch.compile` of the model and channels last.
    """
    torch.manual_seed(0)
    model: Any = ResNet18().to(device)
    images = torch.randn(batch_size, 3, 32, 32, device=device)
    if compiled:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        model = torch.compile(model)
    labels = torch.randint(0, NUM_CLASSES, (batch_size,), device=device)
    options = {"lr": 0.01, "momentum": 0.9}
    if method == "saner":
        optimizer: Any = Saner(model.parameters(), rho=0.1, alpha=0.5, **options)
    elif method == "sam":
        from pytorch_optimizer import SAM

        optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.1, **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), foreach=True, **options)

    def closure() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    def step() -> None:
        if method == "sam":
            # The package's step wants the first pass done.
            closure()
        if method == "sgd":
            closure()
            optimizer.step()
        else:
            optimizer.step(closure)
        if device == "cuda":
            torch.cuda.synchronize()

    return step
