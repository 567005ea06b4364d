"""Laws of the recipes for random trees, dtypes and strengths, and of options for random values.

`make nightly` tries many more examples.
"""

import math
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nightly import times
from problems import all_finite, assert_bitwise_equal, noise_of
from recipe_rows import AS_SAM, SKIPPING, make

import saner_jax
from saner_jax import RECIPES
from saner_jax.experiments import (
    CompareConfig,
    TrainConfig,
    check_compare,
    check_train,
    option_types,
)

pytestmark = pytest.mark.usefixtures("standard_promotion")

few = hypothesis.settings(
    max_examples=times(20, 1500),
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)

# Few shapes, because each is compiled: scalars, vectors, matrices and empty arrays.
SHAPES = ((), (3,), (2, 3), (0,))
WIDE = (np.dtype(jnp.bfloat16), np.dtype(np.float32))
ANY = (np.dtype(np.float16), *WIDE)


class Leaf(NamedTuple):
    """A placeholder for a leaf until its values are drawn."""

    shape: tuple[int, ...]
    dtype: np.dtype
    seed: int


def trees(dtypes=ANY):
    """Draw nested dictionaries, lists and tuples, some empty, with leaves of mixed dtypes."""
    leaves = st.builds(Leaf, st.sampled_from(SHAPES), st.sampled_from(dtypes), st.integers(0, 99))
    # A leaf is a tuple itself; its array is drawn below.
    keys = st.text("abc", min_size=1, max_size=2)
    nested = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=4,
    )
    return st.dictionaries(keys, nested, min_size=1, max_size=3)


def values(tree, salt=0):
    """Draw the values of a tree's leaves, none of them tiny."""

    def draw(leaf):
        rng = np.random.default_rng([leaf.seed, salt])
        signs = rng.choice([-1.0, 1.0], leaf.shape)
        return jnp.asarray(signs * rng.uniform(0.1, 2, leaf.shape), leaf.dtype)

    return jax.tree.map(draw, tree, is_leaf=lambda node: isinstance(node, Leaf))


def update(tx, grads, perturbed, params):
    """Return one update for a given second gradient."""
    given = {"grad_fn": lambda _: perturbed, "noise_grads": noise_of(grads)}
    return tx.update(grads, tx.init(params), params, **given)[0]


strengths = st.floats(0, 1, width=32)
radii = st.floats(2**-10, 10, width=32)


@pytest.mark.slow
@few
@given(trees(), st.sampled_from(sorted(RECIPES)))
def test_rho_zero_hands_the_gradient_on(tree, name):
    params, grads = values(tree), values(tree, 1)
    tx = make(name, 0.0)
    # At radius zero the second pass is at the parameters, so its gradient is the same.
    seen = []
    given = {"looked": True} if name in SKIPPING else {}
    given |= {"grad_fn": lambda p: seen.append(p) or grads, "noise_grads": noise_of(grads)}
    updates, _ = tx.update(grads, tx.init(params), params, **given)
    assert_bitwise_equal(updates, grads)
    assert_bitwise_equal(seen, [params])


@pytest.mark.slow
@few
@given(trees(), st.sampled_from(sorted(RECIPES)), radii)
def test_structure_and_types_are_kept_and_numbers_finite(tree, name, rho):
    params, grads, perturbed = values(tree), values(tree, 1), values(tree, 2)
    tx = make(name, rho)
    noise = noise_of(grads)
    at = saner_jax.perturbed_params(tx, grads, tx.init(params), params, noise_grads=noise)
    updates = update(tx, grads, perturbed, params)
    shapes = lambda t: jax.tree.map(lambda x: (x.shape, x.dtype), t)
    assert shapes(at) == shapes(updates) == shapes(params)
    assert all_finite((at, updates))


@pytest.mark.slow
@few
@given(trees(), st.sampled_from([n for n, limit in AS_SAM.items() if "alpha" in limit]))
def test_alpha_zero_is_the_recipe_without_saner(tree, name):
    params, grads, perturbed = values(tree), values(tree, 1), values(tree, 2)
    ours = update(make(name, 0.3, **AS_SAM[name]), grads, perturbed, params)
    assert_bitwise_equal(ours, update(saner_jax.sam(0.3), grads, perturbed, params))


@pytest.mark.slow
@few
@given(trees(), strengths)
def test_saner_damps_what_shrank_by_alpha_and_nothing_else(tree, alpha):
    params, grads, perturbed = values(tree), values(tree, 1), values(tree, 2)
    updates = update(saner_jax.saner(0.1, alpha), grads, perturbed, params)
    for g, p, u in zip(*map(jax.tree.leaves, (grads, perturbed, updates)), strict=True):
        g, p, u = (np.asarray(x, np.float64) for x in (g, p, u))
        shrank = (np.sign(g) == np.sign(p)) & (np.abs(p) < np.abs(g))
        np.testing.assert_array_equal(u[~shrank], p[~shrank])
        np.testing.assert_allclose(u[shrank], (1 - alpha) * p[shrank], rtol=1e-2, atol=1e-6)
        assert (np.abs(u) <= np.abs(p)).all()
        assert (u * p >= 0).all()


@pytest.mark.slow
@few
@given(st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(0, 99)), min_size=1, max_size=4))
def test_the_order_of_leaves_means_nothing(shapes):
    leaves = [Leaf(shape, np.dtype(np.float32), seed) for shape, seed in shapes]
    ends = []
    for tree in (leaves, leaves[::-1]):
        params, grads, perturbed = values(tree), values(tree, 1), values(tree, 2)
        tx = saner_jax.saner(0.3, 0.5)
        ends.append(
            (
                saner_jax.perturbed_params(tx, grads, tx.init(params), params),
                update(tx, grads, perturbed, params),
            )
        )
    for one, other in zip(*ends, strict=True):
        for a, b in zip(one, other[::-1], strict=True):
            # A parameter and its perturbation may cancel: both are rounded at their own size,
            # at most 2, where float32 has steps of 2.4e-7.
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=5e-7)


INVARIANT = ("sam", "asam", "saner", "asaner", "vasso", "vasso_saner", "friendly_sam", "gsam")


@pytest.mark.slow
@few
@given(trees(WIDE), st.sampled_from(INVARIANT), st.integers(-20, 20))
def test_a_loss_scale_moves_no_perturbation_and_multiplies_the_update(tree, name, power):
    params, grads, perturbed = values(tree), values(tree, 1), values(tree, 2)
    tx, factor = make(name, 0.3), 2.0**power
    scaled = lambda t: jax.tree.map(lambda x: (x * factor).astype(x.dtype), t)
    state = tx.init(params)

    def close(a, b):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            rtol = 2e-2 if x.dtype == jnp.bfloat16 else 1e-5
            np.testing.assert_allclose(*(np.asarray(z, np.float64) for z in (x, y)), rtol=rtol)

    close(
        saner_jax.perturbed_params(tx, scaled(grads), state, params),
        saner_jax.perturbed_params(tx, grads, state, params),
    )
    close(
        update(tx, scaled(grads), scaled(perturbed), params),
        scaled(update(tx, grads, perturbed, params)),
    )


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**32, 2**70, -(2**70), 10**400]),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([(), (0,), ("a",), [], {}, b"", "symmetric", "sgd", "resnet8"]),
)


def odd(config_type):
    """Draw options with up to three arbitrary values; the reader turns lists into tuples."""
    names = list(option_types(config_type))
    several = st.lists(st.integers(-1, 9) | st.text(max_size=3) | st.floats(), max_size=3).map(
        tuple
    )
    field = st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.just(name), several if name in ("hidden_widths", "methods") else ODD
        )
    )
    changes = st.lists(field, max_size=3)
    return changes.map(lambda found: config_type.of(**dict(found)))


@few
@pytest.mark.parametrize(
    ("config_type", "check"), [(TrainConfig, check_train), (CompareConfig, check_compare)]
)
@given(data=st.data())
def test_options_are_taken_or_refused_in_one_sentence(config_type, check, data):
    config = data.draw(odd(config_type))
    try:
        check(config)
    except ValueError as error:
        sentence = str(error)
        hypothesis.event("refused")
    else:
        hypothesis.event("taken")
        assert 0 <= (config.noise.rate or 0) <= 1
        assert math.isfinite(config.perturbation.rho)
        assert isinstance(config.budget.epochs, int)
        return
    assert sentence.split()[0] in option_types(config_type)
    assert "\n" not in sentence


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sam", "saner", "vasso_saner"])
def test_an_overflow_of_the_loss_scale_skips_a_step_and_is_forgotten(name, dtype):
    params = {"w": jnp.asarray([1.0, -0.5, 0.25], dtype), "b": jnp.asarray(0.5, dtype)}
    tx = optax.apply_if_finite(
        optax.chain(make(name, 0.1), optax.sgd(0.1, momentum=0.9)), max_consecutive_errors=3
    )

    @jax.jit
    def step(params, state, scale):
        # Scaled as in mixed precision: in the type of the parameters, on both passes.
        loss = lambda p: sum(jnp.sum(w**2) for w in jax.tree.leaves(p)) * scale.astype(dtype)
        grad_fn = jax.grad(loss)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        updates = jax.tree.map(lambda u: (u / scale).astype(u.dtype), updates)
        return optax.apply_updates(params, updates), state

    start, state = params, tx.init(params)
    params, state = step(params, state, jnp.float32(np.finfo(np.float32).max))
    assert_bitwise_equal(params, start)
    assert int(state.total_notfinite) == 1
    ends = []
    for scale in (1.0, 2.0**7):
        # Momentum has the scale of its gradients, so each scale needs its own initial state.
        after, later = step(start, state, jnp.float32(scale))
        assert all_finite((after, later))
        assert int(later.total_notfinite) == 1
        ends.append(after)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=1e-2
        ),
        *ends,
    )
    assert not np.array_equal(ends[0]["w"], start["w"])
