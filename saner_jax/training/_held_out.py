"""Hold rows of the training examples out: a share of them, or one of several folds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A stream of random numbers apart from those of `default_rng(seed)`, which noise uses, from the
# orders of epochs, whose spawn keys have one number, and from those of `saner_jax.data`.
_VALIDATION = (0, 1)


def held_out(num_examples: int, fraction: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split rows into those to train on and those to choose the best epoch by.

    Args:
        num_examples: how many rows there are.
        fraction: share held out, in [0, 1), rounded down to whole rows.
        seed: of the run.

    Returns:
        Two ascending arrays of row numbers, which together hold each row once.

    Example:
        >>> train, validation = held_out(10, 0.25, seed=0)
        >>> len(train), len(validation)
        (8, 2)
    """
    order = _shuffled(num_examples, seed)
    num_held = int(fraction * num_examples)
    return np.sort(order[num_held:]), np.sort(order[:num_held])


def held_out_fold(
    num_examples: int, num_folds: int, fold: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split rows into all folds but one, to train on, and that one.

    Args:
        num_examples: how many rows there are, at least `num_folds`.
        num_folds: parts of equal size, up to one row; every row is in one of them.
        fold: which one is held out, from 0.
        seed: of the run.

    Returns:
        Two ascending arrays of row numbers, which together hold each row once.

    Example:
        >>> train, held = zip(*(held_out_fold(10, 3, fold, seed=0) for fold in range(3)))
        >>> [len(rows) for rows in held], np.sort(np.concatenate(held)).tolist() == list(range(10))
        ([4, 3, 3], True)
    """
    folds = np.array_split(_shuffled(num_examples, seed), num_folds)
    rest = [rows for number, rows in enumerate(folds) if number != fold]
    return np.sort(np.concatenate(rest)), np.sort(folds[fold])


def _shuffled(num_examples: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_VALIDATION))
    return rng.permutation(num_examples)
