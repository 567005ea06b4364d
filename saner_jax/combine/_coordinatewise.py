"""What to keep, coordinate by coordinate, of the two gradients of a step.

Each part returns an Optax transformation whose updates are the gradient at the perturbed
parameters and which receives the gradient at the parameters as the keyword ``origin_grads``
(``TypeError`` without). Parts chain, and ``origin_grads`` reaches each of them unchanged. Strengths
are as in :mod:`saner_jax.ascent`; results have the dtypes of the perturbed gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._precision import widely
from saner_jax._core._strengths import Strength, check_strength, counted
from saner_jax._core._transformations import stateless
from saner_jax.combine._groups import is_shrunk

Group = Callable[[jax.Array, jax.Array], jax.Array]
"""The origin and the perturbed gradient of a leaf to the coordinates that belong to a group."""


def damp_shrunk(alpha: Strength = 0.5) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that the perturbation shrank: SANER's reweighting.

    In the paper's theory, the shrunk coordinates are those where wrong labels dominate the
    gradient; on features of CIFAR-10 they dominated less than a third of them. ``alpha=0`` keeps
    SAM's gradient, ``alpha=1`` drops those coordinates.

    .. math:: g \leftarrow (1 - \alpha m) \odot g', \quad m = 1[0 < g'/g < 1]

    g: ``origin_grads``; g': ``updates``; alpha: ``alpha``; m is :func:`is_shrunk`.

    Args:
        alpha: the paper's strength, 0 to 1; :func:`alpha_warmup` builds the paper's schedule.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; its
        state is the count of updates.

    Limits:
        A coordinate where either gradient is zero or not finite passes unchanged. However small
        the radius, a coordinate is damped if it gets smaller at all; only a radius or an alpha of
        zero damps none.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = damp_shrunk(0.5)
        >>> origin, perturbed = jnp.array([2.0, 2.0, 2.0]), jnp.array([1.0, 3.0, -1.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [0.5, 3.0, -1.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132 (the SANER update); lhchau/saner @07fd303
        optimizer/saner.py.

    Differences:
        1. The authors' code has a parameter of the same name that is the factor kept, 1 - alpha.
        2. Signs and magnitudes are compared; see :func:`is_shrunk`.
    """
    check_strength(
        "damp_shrunk", "alpha", alpha, upper=1.0, meaning="0 keeps SAM's gradient, 1 drops"
    )

    def damp(updates: Any, strength: Any, *, origin_grads: Any = None, **_: Any) -> optax.Updates:
        check_origin("damp_shrunk", origin_grads)

        def damp_leaf(perturbed: jax.Array, origin: jax.Array) -> jax.Array:
            kept = 1 - jnp.asarray(strength, perturbed.dtype)
            return jnp.where(is_shrunk(origin, perturbed), kept * perturbed, perturbed)

        return jax.tree.map(widely(damp_leaf), updates, origin_grads)

    return counted(damp, alpha, when_off=lambda updates: updates)


def restore_origin(where: Group) -> optax.GradientTransformationExtraArgs:
    r"""Keep the origin gradient in one group of coordinates: the ablations of SANER's paper.

    .. math:: g \leftarrow q \odot g + (1 - q) \odot g'

    g: ``origin_grads``; g': ``updates``; q marks where ``where(g, g')`` holds.

    Args:
        where: function of two arrays, the origin and the perturbed gradient of a leaf, giving a
            bool array: :func:`is_shrunk`, :func:`is_grown`, :func:`is_reversed` or one's own.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; its
        state is empty.

    Raises:
        TypeError: at build, for anything that cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = restore_origin(is_shrunk)
        >>> origin, perturbed = jnp.array([2.0, 2.0, 2.0]), jnp.array([1.0, 3.0, -1.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [2.0, 3.0, -1.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132, figures 2 to 4; lhchau/saner @07fd303
        optimizer/samwo.py.

    Differences:
        1. Signs and magnitudes are compared; see :func:`is_shrunk`.
        2. The authors' group A leaves out r = 1, which :func:`is_grown` counts; both gradients are
           the same there.
    """
    if not callable(where):
        raise TypeError(
            "restore_origin: where must be a function of the origin and the perturbed gradient, "
            f"such as is_shrunk, got {where!r}."
        )

    def update(
        updates: optax.Updates,
        state: Any,
        params: Any = None,
        *,
        origin_grads: Any = None,
        **_: Any,
    ) -> tuple[optax.Updates, Any]:
        del params
        check_origin("restore_origin", origin_grads)
        restore = widely(lambda perturbed, g: jnp.where(where(g, perturbed), g, perturbed))
        return jax.tree.map(restore, updates, origin_grads), state

    return optax.GradientTransformationExtraArgs(stateless, update)


def check_origin(function: str, origin_grads: optax.Updates | None) -> None:
    """Refuse a call without the gradients at the parameters, naming the part that needs them.

    Args:
        function: name of the part, for the sentence.
        origin_grads: the keyword of its ``update``, or None.

    Raises:
        TypeError: for None.
    """
    if origin_grads is None:
        raise TypeError(
            f"{function}: update needs the keyword origin_grads, the gradients at the parameters; "
            "use it as the combine stage of sharpness_aware, which passes them."
        )
