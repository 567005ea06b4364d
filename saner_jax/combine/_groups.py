"""What did the perturbation do to a coordinate: shrink it, grow it, reverse it?

The three groups partition the coordinates whose two gradients are finite and non-zero by the
ratio r of the perturbed gradient to the origin gradient. Only signs and magnitudes are compared:
a quotient needs an epsilon, which turns signs over near zero, and a product underflows.
"""

import jax
import jax.numpy as jnp

from saner_jax._core._precision import wide_dtype


def is_shrunk(origin: jax.typing.ArrayLike, perturbed: jax.typing.ArrayLike) -> jax.Array:
    """Mark the coordinates that came out smaller with the same sign: 0 < r < 1.

    Args:
        origin: gradient at the parameters, any float dtype.
        perturbed: gradient at the perturbed parameters, same shape.

    Returns:
        A bool array. False where either is zero or not finite, and at r = 1.

    Example:
        >>> import jax.numpy as jnp
        >>> is_shrunk(jnp.array([2.0, 2.0, 2.0, 0.0]), jnp.array([1.0, 3.0, -1.0, 1.0])).tolist()
        [True, False, False, False]

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132), group B; lhchau/saner @07fd303.

    Differences:
        1. The authors' code divides by ``origin + 1e-8``, which flips the sign test for origins
           in (-1e-8, 0). Here nothing is divided.
    """
    origin, perturbed, same_sign, finite = _compare(origin, perturbed)
    return same_sign & (jnp.abs(perturbed) < jnp.abs(origin)) & finite


def is_grown(origin: jax.typing.ArrayLike, perturbed: jax.typing.ArrayLike) -> jax.Array:
    """Mark the coordinates that kept their sign and did not shrink: r >= 1.

    Group A, with r = 1 as the authors' logging counts it.

    Args:
        origin: as for :func:`is_shrunk`.
        perturbed: as there.

    Returns:
        A bool array. False where either is zero or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> is_grown(jnp.array([2.0, 2.0, 2.0, 0.0]), jnp.array([1.0, 3.0, -1.0, 1.0])).tolist()
        [False, True, False, False]
    """
    origin, perturbed, same_sign, finite = _compare(origin, perturbed)
    return same_sign & (jnp.abs(perturbed) >= jnp.abs(origin)) & finite


def is_reversed(origin: jax.typing.ArrayLike, perturbed: jax.typing.ArrayLike) -> jax.Array:
    """Mark the coordinates whose sign turned over: r < 0, group C.

    Args:
        origin: as for :func:`is_shrunk`.
        perturbed: as there.

    Returns:
        A bool array. False where either is zero or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> is_reversed(jnp.array([2.0, 2.0, 2.0, 0.0]), jnp.array([1.0, 3.0, -1.0, 1.0])).tolist()
        [False, False, True, False]
    """
    origin, perturbed, _, finite = _compare(origin, perturbed)
    return (origin != 0) & (jnp.sign(origin) == -jnp.sign(perturbed)) & finite


def _compare(
    origin: jax.typing.ArrayLike, perturbed: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Bring both to one dtype; tell where signs agree off zero and where both are finite."""
    dtype = wide_dtype(origin, perturbed)
    origin, perturbed = jnp.asarray(origin, dtype), jnp.asarray(perturbed, dtype)
    same_sign = (origin != 0) & (jnp.sign(origin) == jnp.sign(perturbed))
    return origin, perturbed, same_sign, jnp.isfinite(origin) & jnp.isfinite(perturbed)
