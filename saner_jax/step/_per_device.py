"""What several devices average, and when: one perturbation for all, or each its own.

Under ``jax.jit`` with sharded arrays nothing here is needed: a batch sharded over the devices has
one gradient, hence one perturbation, the same as on one device, and two all-reduces a step; groups
sharded over the devices (:func:`per_group`) have one perturbation each, and one all-reduce. Give
the mesh Auto axes (``jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,))``); ordinary
models do not trace under Explicit ones, which are the default.

Where the program is written for one device, under ``jax.shard_map`` or ``jax.pmap``, the two
meanings of SAM are the two functions here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._averaging import change_of, is_averaged, moved, start_of
from saner_jax._core._axes import AxisName, tracked, varies
from saner_jax._core._precision import wide_dtype
from saner_jax._core._transformations import check_transformation
from saner_jax.step._sharpness_aware import GradFn


def synchronized(grad_fn: GradFn, axis_name: AxisName) -> GradFn:
    r"""Average a gradient over devices, so that all of them perturb alike.

    .. math:: \nabla L(w) = \frac{1}{n} \sum_{d=1}^n \nabla L_d(w)

    L_d: mean loss on device d's share of the batch. Use the result for both passes. A step is then
    SAM's step on the whole batch, and costs two all-reduces.

    Args:
        grad_fn: parameters to gradients of the mean loss on this device's examples. All devices
            have equally many.
        axis_name: of the mesh axis, or of the ``pmap``, over which the batch is spread; a tuple
            of names for several axes.

    Returns:
        A function of parameters, the same on all devices, to the gradients on the whole batch.
        What ``grad_fn`` returns beside them (a loss) is averaged too.

    Raises:
        NameError: when called outside ``jax.shard_map`` and ``jax.pmap``.

    Limits:
        Under ``jax.shard_map`` the gradient of a replicated array comes out summed over devices.
        Parameters are therefore marked as varying before ``grad_fn`` sees them, and that must not
        have been undone inside it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> loss = lambda w, x: jnp.mean((w - x) ** 2) / 2
        >>> def step(w, x):
        ...     grad_fn = synchronized(jax.grad(lambda w: loss(w, x)), "data")
        ...     tx = sam(rho=1.0)
        ...     return tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0]
        >>> step = jax.pmap(step, axis_name="data", in_axes=(None, 0))
        >>> step(jnp.array(0.0), jnp.array([[1.0, 2.0]])).tolist()
        [-2.5]
    """
    return lambda params: jax.lax.pmean(grad_fn(varying(params, axis_name)), axis_name)


def per_device(
    recipe: optax.GradientTransformation, axis_name: AxisName
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb on every device by its own gradient, and average the results: m-SAM.

    .. math:: \mathrm{out} = \frac{1}{n} \sum_{d=1}^n \mathrm{recipe}(\nabla L_d(w), \nabla L_d)

    L_d: mean loss on device d's share of the batch. A step costs one all-reduce, as SGD's does.
    It depends on how many devices there are; :func:`per_group` does the same on any number.

    Args:
        recipe: any recipe, or any other transformation. SANER damps on every device what that
            device's perturbation shrank.
        axis_name: of the mesh axis, or of the ``pmap``, over which the batch is spread; a tuple
            of names for several axes.

    Returns:
        An Optax transformation with the recipe's state. ``update`` takes this device's own
        gradients and gradient function, both unaveraged: under ``jax.shard_map`` take them at
        ``jax.lax.pcast(params, axis_name, to="varying")``, since gradients of replicated arrays
        come out summed over devices. The result is the same on all devices, the state
        included: floating-point leaves of it (averages, metrics) hold the mean over the devices.

    Raises:
        ValueError: at update, for gradients that are the same on all devices of an axis.
        NameError: outside ``jax.shard_map`` and ``jax.pmap``.

    Limits:
        Under ``pmap``, and under ``shard_map`` with ``check_vma=False``, gradients that were
        averaged before cannot be told from a device's own and are not refused.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> loss = lambda w, x: jnp.mean((w - x) ** 2) / 2
        >>> def step(w, x):
        ...     grad_fn = jax.grad(lambda w: loss(w, x))
        ...     tx = per_device(sam(rho=1.0), "data")
        ...     return tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0]
        >>> step = jax.pmap(step, axis_name="data", in_axes=(None, 0))
        >>> step(jnp.array(0.0), jnp.array([[1.0, 2.0]])).tolist()
        [-2.5]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, section 4.1; google-research/sam @dae9904, where
        it is what happens on several accelerators.
    """
    check_transformation("per_device", "recipe", recipe, "sam(0.1)")
    own = lambda tree: varying(tree, axis_name)
    act = optax.with_extra_args_support(recipe).update

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        _refuse_shared(updates, axis_name)
        kept, after = act(updates, own(state), own(params), **extra_args)
        start, wide = start_of(state), lambda x: jnp.asarray(x, wide_dtype(x))
        changes = jax.tree.map(wide, kept), change_of(start, after)
        leaves, structure = jax.tree.flatten(changes)
        # Together, so that they travel in one all-reduce.
        means = iter(jax.lax.pmean([leaf for leaf in leaves if is_averaged(leaf)], axis_name))
        leaves = [next(means) if is_averaged(leaf) else leaf for leaf in leaves]
        mean, change = structure.unflatten(leaves)
        narrow = lambda x, like: x.astype(jnp.result_type(like))
        return jax.tree.map(narrow, mean, kept), moved(state, start, change)

    return optax.GradientTransformationExtraArgs(recipe.init, update)


def varying(tree: Any, axis_name: AxisName) -> Any:
    """Mark floating-point leaves as differing between devices, where JAX keeps track of that.

    Args:
        tree: any pytree of arrays.
        axis_name: of the devices; a tuple of names for several axes.

    Returns:
        The same values. Gradients at them are a device's own, not summed over the devices.

    Example:
        >>> import jax.numpy as jnp
        >>> jax.pmap(lambda x: varying(x, "data"), axis_name="data")(jnp.ones((1, 2))).tolist()
        [[1.0, 1.0]]
    """
    followed = tracked(axis_name)

    def mark(x: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        missing = tuple(axis for axis in followed if axis not in varies(x))
        return jax.lax.pcast(x, missing, to="varying") if missing and is_averaged(x) else x

    return jax.tree.map(mark, tree)


def _refuse_shared(updates: optax.Updates, axis_name: AxisName) -> None:
    leaves = jax.tree.leaves(updates)
    for axis in tracked(axis_name):
        if leaves and not any(axis in varies(leaf) for leaf in leaves):
            raise ValueError(
                f"per_device: updates are the same on all devices of axis {axis!r}, so they are "
                "not this device's own gradients. Take them at jax.lax.pcast(params, "
                f'{axis_name!r}, to="varying"): gradients of replicated parameters come out summed.'
            )
