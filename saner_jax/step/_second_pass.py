"""The second pass with its value and auxiliary output, without side effects.

A wrapper may take the second pass inside a branch, a loop or a ``vmap`` (`look_if`, `per_group`,
``optax.apply_if_finite``). A list that the loss function appends to then holds tracers. All
wrappers carry the state out, so the output of the second pass leaves in the state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

SECOND_PASS = "saner_jax_second_pass"
"""Keyword of ``update`` for a `SecondPass` that is taken in place of ``grad_fn``."""


class PassOutput(NamedTuple):
    """The result of a loss function in one pass.

    Attributes:
        value: the loss, a scalar.
        aux: the auxiliary output; None without ``has_aux``.
    """

    value: jax.Array
    aux: Any


class SecondPass(NamedTuple):
    """A function to call at the perturbed parameters, which returns more than gradients.

    Attributes:
        take: perturbed parameters (and a group, under `per_group`) to gradients and output.
        origin: output of the pass at the parameters. A skipped second pass repeats it. None if the
            pass must not be skipped.
    """

    take: Callable[..., tuple[Any, Any]]
    origin: Any


class RecordedPasses(NamedTuple):
    """The outputs of both passes, in the state during one update.

    Attributes:
        origin: output of the pass at the parameters.
        perturbed: output of the pass at the perturbed parameters.
        is_taken: int32 scalar, 1 if the update ran, 0 if a wrapper rejected it.
    """

    origin: Any
    perturbed: Any
    is_taken: jax.Array
