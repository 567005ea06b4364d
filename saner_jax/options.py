"""Options of the commands, and the sentences that refuse a bad one."""

import dataclasses
import math
from pathlib import Path

from saner_jax.data import NOISE_TYPES
from saner_jax.recipes import RECIPES

METHODS = ("sgd", *RECIPES)


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Train each method on the same noisy labels and tabulate what it learned and memorised."""

    dataset: str = "digits"
    """"digits" (1,797 real 8x8 images that come with scikit-learn), or the path of an .npz file
    with train_images, train_labels, test_images and test_labels. Pixels are scaled to [0, 1], and
    the training images' mean per channel is subtracted."""
    noise: str = "symmetric"
    """How training labels are flipped: symmetric (to any other class), symmetric_inclusive (to any
    class, the true one included) or pair (to the next class). Test labels stay right."""
    rate: float = 0.4
    """Share of the training labels to flip, from 0 to 1."""
    methods: tuple[str, ...] = ("sgd", "sam", "saner")
    """Methods to compare: sgd, or any recipe of saner_jax: sam, asam, gsam, friendly_sam, vasso,
    saner, asaner, gsaner, friendly_saner, vasso_saner."""
    rho: float = 0.1
    """Radius of the perturbation, in the recipe's own unit; 0 makes every recipe SGD."""
    alpha: float = 0.5
    """SANER's strength, from 0 (the recipe without SANER) to 1 (drop what shrank)."""
    alpha_warmup_fraction: float = 0.25
    """Share of training over which alpha rises linearly from 0, from 0 to 1."""
    epochs: int = 60
    """Passes over the training set."""
    batch_size: int = 64
    """Examples per step; those left over by the last whole batch sit the epoch out."""
    learning_rate: float = 0.05
    """Learning rate of the first step; a cosine takes it to 0 at the end."""
    momentum: float = 0.9
    """Momentum of SGD, at least 0 and below 1."""
    weight_decay: float = 5e-4
    """Multiple of the parameters added to the gradient; 0 is off."""
    hidden_widths: tuple[int, ...] = (256, 256)
    """Width of each hidden layer of the perceptron; none makes it a linear classifier."""
    seeds: int = 5
    """How many runs per method, trained at once; each has its own noise, initialisation and
    order, the same for every method."""
    first_seed: int = 0
    """Seed of the first run; the others follow by one."""
    output_folder: Path | None = None
    """New folder for config.json, results.json and curves.png; runs/compare-<date>-<time> if not
    given. An existing folder is never touched."""

    @property
    def all_seeds(self) -> range:
        """The seed of every run."""
        return range(self.first_seed, self.first_seed + self.seeds)


def check_compare(config: CompareConfig) -> None:
    """Refuse options of `saner-jax compare` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_compare(CompareConfig(rate=1.5))
        Traceback (most recent call last):
            ...
        ValueError: rate must be a number from 0 to 1, not 1.5
    """
    for name in ("rate", "alpha", "alpha_warmup_fraction"):
        _check_number(config, name, most=1)
    for name in ("rho", "learning_rate", "momentum", "weight_decay"):
        _check_number(config, name)
    if config.momentum >= 1:
        raise ValueError(f"momentum must be below 1, not {config.momentum!r}")
    for name, least in {"epochs": 1, "batch_size": 1, "seeds": 1, "first_seed": 0}.items():
        if not _is_whole(getattr(config, name), least):
            raise ValueError(
                f"{name} must be a whole number of at least {least}, not {getattr(config, name)!r}"
            )
    if config.first_seed + config.seeds > 2**32:
        raise ValueError(f"first_seed must leave all seeds below 2**32, not {config.first_seed!r}")
    for width in config.hidden_widths:
        if not _is_whole(width, 1):
            raise ValueError(f"hidden_widths must be whole numbers of at least 1, not {width!r}")
    if config.noise not in NOISE_TYPES:
        raise ValueError(f"noise must be one of {', '.join(NOISE_TYPES)}, not {config.noise!r}")
    if not config.methods or len(set(config.methods)) < len(config.methods):
        raise ValueError("methods must name at least one method, and none of them twice")
    for method in config.methods:
        if method not in METHODS:
            raise ValueError(f"methods must be among {', '.join(METHODS)}, not {method!r}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_number(config: CompareConfig, name: str, most: float = math.inf) -> None:
    value = getattr(config, name)
    if not (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= most):
        bound = "of at least 0" if most == math.inf else f"from 0 to {most}"
        raise ValueError(f"{name} must be a number {bound}, not {value!r}")
