"""What to keep: from the two gradients of a step to the one the base optimizer gets.

Each part returns an Optax transformation whose updates are the gradient at the perturbed
parameters and which receives the gradient at the parameters as the keyword ``origin_grads``
(``TypeError`` without). Parts chain, and ``origin_grads`` reaches each of them unchanged. Strengths
are as in :mod:`saner_jax.ascent`; results have the dtypes of the perturbed gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._precision import global_dot, safe_ratio, widely
from saner_jax._strengths import Strength, check_strength, counted
from saner_jax.groups import is_shrunk


def damp_shrunk(alpha: Strength = 0.5) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that the perturbation shrank: SANER's reweighting.

    Under label noise the shrunk coordinates are mostly those where the wrong labels dominate the
    gradient. ``alpha=0`` keeps SAM's gradient, ``alpha=1`` drops those coordinates.

    .. math:: g \leftarrow (1 - \alpha m) \odot g', \quad m = 1[0 < g'/g < 1]

    g: ``origin_grads``; g': ``updates``; alpha: ``alpha``; m is :func:`is_shrunk`.

    Args:
        alpha: the paper's strength, 0 to 1; :func:`alpha_warmup` builds the paper's schedule.

    Limits:
        A coordinate where either gradient is zero or not finite passes unchanged.

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
        _check_origin("damp_shrunk", origin_grads)

        def damp_leaf(perturbed: jax.Array, origin: jax.Array) -> jax.Array:
            kept = 1 - jnp.asarray(strength, perturbed.dtype)
            return jnp.where(is_shrunk(origin, perturbed), kept * perturbed, perturbed)

        return jax.tree.map(widely(damp_leaf), updates, origin_grads)

    return counted(damp, alpha, when_off=lambda updates: updates)


def remove_orthogonal(alpha: Strength = 0.01) -> optax.GradientTransformationExtraArgs:
    r"""Subtract what of the origin gradient is orthogonal to the perturbed one: GSAM's rule.

    .. math:: g \leftarrow g' - \alpha \left(g - \frac{\langle g, g' \rangle}{\lVert g'
        \rVert^2} g'\right)

    g: ``origin_grads``; g': ``updates``; alpha: ``alpha``; products run over all leaves together.

    Args:
        alpha: GSAM's strength, at least 0 (published: 0.01 for ResNets, 0.4 to 1 for ViTs); 0
            keeps SAM's gradient.

    Limits:
        A zero perturbed gradient has no direction: all of the origin gradient counts as orthogonal.
        A non-finite coordinate of either gradient passes to the result.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = remove_orthogonal(0.5)
        >>> origin, perturbed = jnp.array([1.0, 4.0]), jnp.array([2.0, 0.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [2.0, -2.0]

    Source:
        Zhuang et al., ICLR 2022, arXiv 2203.08065, algorithm 1; juntang-zhuang/GSAM @a770275.

    Differences:
        1. Their code decomposes on each device before averaging; here both gradients are already
           averaged unless the caller's ``grad_fn`` leaves them apart.
    """
    check_strength(
        "remove_orthogonal", "alpha", alpha, meaning="GSAM's strength; 0 keeps SAM's gradient"
    )

    def remove(updates: Any, strength: Any, *, origin_grads: Any = None, **_: Any) -> optax.Updates:
        _check_origin("remove_orthogonal", origin_grads)
        along = safe_ratio(global_dot(origin_grads, updates), global_dot(updates, updates))

        def remove_leaf(perturbed: jax.Array, origin: jax.Array) -> jax.Array:
            share = jnp.asarray(strength, perturbed.dtype)
            orthogonal = origin - jnp.asarray(along, perturbed.dtype) * perturbed
            # Selected, so that alpha = 0 is SAM whatever the origin gradient holds.
            return jnp.where(share == 0, perturbed, perturbed - share * orthogonal)

        return jax.tree.map(widely(remove_leaf), updates, origin_grads)

    return counted(remove, alpha, when_off=lambda updates: updates)


def _check_origin(function: str, origin_grads: optax.Updates | None) -> None:
    if origin_grads is None:
        raise TypeError(
            f"{function}: update needs the keyword origin_grads, the gradients at the parameters; "
            "use it as the combine stage of sharpness_aware, which passes them."
        )
