"""One training step of a model on random images, compiled, and what XLA counts in it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from saner_jax.models import build, forward_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import init_state, make_train_step

NUM_CLASSES, IMAGE_SHAPE = 10, (32, 32, 3)


class Step(NamedTuple):
    """A compiled step, `state, record = program(state, images, labels)`, with the state donated."""

    program: Any
    state: Any
    images: jax.Array
    labels: jax.Array


def compile_step(
    model_name: str,
    recipe: optax.GradientTransformation,
    batch_size: int,
    *,
    precision: str = "float32",
    **model_options: Any,
) -> Step:
    """Compile the trainer's step, with SGD and momentum behind the recipe."""
    model = build(model_name, NUM_CLASSES, dtype=jnp.dtype(precision), **model_options)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch_size, *IMAGE_SHAPE)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, batch_size), jnp.int32)
    variables = dict(jax.jit(model.init)(jax.random.key(0), images[:1]))
    params = variables.pop("params")
    tx = optax.chain(recipe, optax.sgd(0.01, momentum=0.9))
    step = make_train_step(forward_of(model), cross_entropy, tx)
    state = init_state(params, tx, variables)
    program = jax.jit(step, donate_argnums=0).lower(state, images, labels).compile()
    return Step(program, state, images, labels)


def without_look(recipe: optax.GradientTransformationExtraArgs) -> Any:
    """Make a selective recipe skip its second pass, as the host decides on most steps."""
    return _looking(recipe, looked=False)


def with_look(recipe: optax.GradientTransformationExtraArgs) -> Any:
    """Make a selective recipe take its second pass."""
    return _looking(recipe, looked=True)


def _looking(recipe: optax.GradientTransformationExtraArgs, *, looked: bool) -> Any:
    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        return recipe.update(updates, state, params, **extra_args, looked=looked)

    return optax.GradientTransformationExtraArgs(recipe.init, update)


def counts_of(step: Step) -> dict[str, float]:
    """Count FLOPs, bytes read and written, and the most bytes alive at once."""
    cost, memory = step.program.cost_analysis(), step.program.memory_analysis()
    return {
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        # Donated arguments are their results.
        "peak_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes,
    }


def size_of(params: Any) -> int:
    """Count the bytes of a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(params))
