"""Quantiles without sorting: sharded arrays stay sharded, and each bit costs one count."""

import jax
import jax.numpy as jnp


@jax.jit  # Outside jit, JAX compiles the loop for every new function that is its body.
def largest_bound(leaves: list[jax.Array], allowed: jax.typing.ArrayLike) -> jax.Array:
    """Return the largest of the values that at most `allowed` of all coordinates lie below.

    The leaves hold non-negative floats of one dtype. The bits of such floats sort as integers, so
    one count per bit finds the bound exactly. It is at most the largest coordinate, whatever
    `allowed` is, and 0 where there are none.
    """
    is_wide = any(leaf.dtype == jnp.float64 for leaf in leaves)
    dtype, num_bits = (jnp.int64, 63) if is_wide else (jnp.int32, 31)
    leaves = [jax.lax.bitcast_convert_type(leaf, dtype) for leaf in leaves]
    zero = jnp.zeros((), dtype)
    largest = jnp.max(jnp.stack([jnp.max(leaf, initial=0) for leaf in leaves] or [zero]))

    def raised(bit: jax.Array, bound: jax.Array) -> jax.Array:
        candidate = bound | (jnp.ones((), dtype) << jnp.asarray(num_bits - 1 - bit, dtype))
        below = sum(
            (jnp.sum(leaf < candidate).astype(jnp.float32) for leaf in leaves), jnp.float32(0)
        )
        return jnp.where(below <= allowed, candidate, bound)

    # Zero by way of the data: inside shard_map the bound then varies over devices as they do.
    bound = jax.lax.fori_loop(0, num_bits, raised, largest & zero)
    as_float = jnp.float64 if is_wide else jnp.float32
    return jax.lax.bitcast_convert_type(jnp.minimum(bound, largest), as_float)
