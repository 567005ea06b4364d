"""NCSAM takes the steps of its paper, and its flips have the distribution of the paper's draw."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import assert_bitwise_equal, ripples

from saner_jax import perturbed_params, sam, scale_to_radius, sharpness_aware
from saner_jax.ascent import add_direction, project_to_radius
from saner_jax.recipes import ncsam, simulate_flips
from saner_jax.step import smooth_ramp

RHO, KAPPA, NUM_STEPS = 0.5, 0.3, 12
# Multiples of 1/64 are the same numbers in every precision.
START = {"a": np.array([1.0, -0.5]), "b": np.array([0.75, -1.25, 0.25])}
CURVES = np.array([2.0, 0.5, -0.25, 1.5, 3.0])
TARGETS = np.array([0.5, -1.0, 0.25, 2.0, -0.75])


def oracle_gradient(w, targets):
    return CURVES * (w - targets) + 0.5 * w**3


def oracle(projects, selected):
    """The paper's steps in NumPy on the flat parameters; wrong labels are mirrored targets."""
    w = np.concatenate([START["a"], START["b"]])
    for step in range(NUM_STEPS):
        t = step / NUM_STEPS
        strength = KAPPA * min(1.0, 2 * (3 - 2 * t) * t**2)
        g = np.where(selected, oracle_gradient(w, TARGETS), 0.0)
        noise = np.where(selected, oracle_gradient(w, -TARGETS), 0.0)
        e = RHO * g / np.sqrt(np.sum(g**2)) + strength * noise
        length = np.sqrt(np.sum(e**2))
        if projects and length > RHO:
            e = RHO * e / length
        w = w - 0.05 * oracle_gradient(w + e, TARGETS)
        yield w


def walk(recipe):
    flat = lambda w: jnp.concatenate([w["a"], w["b"]])
    unflat = lambda g: {"a": g[:2], "b": g[2:]}
    gradient = lambda w, targets: unflat(oracle_gradient(flat(w), targets))
    tx = optax.chain(recipe, optax.sgd(0.05))

    @jax.jit
    def step(params, state):
        grad_fn = lambda at: gradient(at, TARGETS)
        noise_grads = gradient(params, -TARGETS)
        updates, state = tx.update(
            grad_fn(params), state, params, grad_fn=grad_fn, noise_grads=noise_grads
        )
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, START)
    state = tx.init(params)
    for _ in range(NUM_STEPS):
        params, state = step(params, state)
        yield np.asarray(flat(params))


RAMP = smooth_ramp(KAPPA, num_epochs=3, steps_per_epoch=NUM_STEPS / 3)
ALL, FIRST = np.ones(5, bool), np.array([True, True, False, False, False])
AS_THE_CODE = optax.chain(scale_to_radius(RHO), add_direction(RAMP))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "projects", "selected"),
    [
        (ncsam(RHO, RAMP), True, ALL),
        (ncsam(RHO, RAMP, perturb_mask={"a": True, "b": False}), True, FIRST),
        (sharpness_aware(AS_THE_CODE), False, ALL),
    ],
    ids=["paper", "some parameters", "code"],
)
def test_ncsam_follows_its_oracle_in_float64(recipe, projects, selected):
    with jax.enable_x64(True):
        ours = np.stack(list(walk(recipe)))
    np.testing.assert_allclose(ours, list(oracle(projects, selected)), rtol=1e-10)


def test_the_problem_tells_the_paper_from_its_code_and_from_sam():
    paper, code = (np.stack(list(oracle(projects, ALL))) for projects in (True, False))
    some = np.stack(list(oracle(True, FIRST)))
    with jax.enable_x64(True):
        plain = np.stack(list(walk(sam(RHO))))
    for one, other in itertools.combinations([paper, code, some, plain], 2):
        assert np.max(np.abs(one - other)) > 1e-2


def test_a_rho_of_zero_looks_at_the_parameters_themselves():
    problem = ripples()
    tx = ncsam(0.0, 0.5)
    at = perturbed_params(
        tx, problem.params, tx.init(problem.params), problem.params, noise_grads=problem.params
    )
    assert_bitwise_equal(at, problem.params)


@pytest.mark.slow
def test_the_first_phase_is_where_the_update_looks():
    w, noise_grads = jnp.asarray([3.0, 4.0]), jnp.asarray([2.0, -1.0])
    tx, looked = ncsam(1.0, 0.5, metrics=True), []
    grad_fn = lambda at: looked.append(at) or at
    state = tx.init(w)
    at = perturbed_params(tx, w, state, w, noise_grads=noise_grads)
    _, state = tx.update(w, state, w, grad_fn=grad_fn, noise_grads=noise_grads)
    np.testing.assert_array_equal(looked[0], at)
    assert float(state.metrics.perturbation_norm) == pytest.approx(1.0, rel=1e-6)


def test_at_a_zero_gradient_the_noise_gradient_alone_perturbs():
    w, zero = jnp.asarray([3.0, 4.0]), jnp.zeros(2)
    tx = ncsam(1.0, 0.5)
    for noise_grads, expected in (([0.0, 0.5], [3.0, 4.25]), ([0.0, 5.0], [3.0, 5.0])):
        noise_grads = jnp.asarray(noise_grads)
        at = perturbed_params(tx, zero, tx.init(w), w, noise_grads=noise_grads)
        np.testing.assert_allclose(at, expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_noise_gradient_without_a_finite_length_perturbs_nothing(bad):
    w = jnp.asarray([3.0, 4.0])
    tx = ncsam(1.0, 0.5)
    at = perturbed_params(tx, w, tx.init(w), w, noise_grads=jnp.asarray([bad, 1.0], jnp.float32))
    np.testing.assert_array_equal(at, w)


def test_a_scale_that_is_zero_now_adds_nothing_of_whatever_there_is():
    tx, e = add_direction(optax.constant_schedule(0.0)), jnp.asarray([1.0, -0.0])
    noise_grads = jnp.asarray([jnp.nan, jnp.inf])
    assert_bitwise_equal(tx.update(e, tx.init(e), noise_grads=noise_grads)[0], e)


@pytest.mark.slow
def test_dtypes_are_kept():
    w = {"x": jnp.ones(2, jnp.bfloat16), "y": jnp.ones(3, jnp.float16), "z": jnp.ones(1)}
    ascent = optax.chain(add_direction(0.5), project_to_radius(0.1))
    e, _ = ascent.update(w, ascent.init(w), noise_grads=w)
    assert jax.tree.map(lambda leaf: leaf.dtype, e) == jax.tree.map(lambda leaf: leaf.dtype, w)


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        ([0.3, -0.4], [0.3, -0.4]),
        ([3.0, -4.0], [0.6, -0.8]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([np.nan, 1.0], [0.0, 0.0]),
        ([np.inf, 1.0], [0.0, 0.0]),
    ],
    ids=["inside", "outside", "zero", "nan", "infinite"],
)
def test_projection_shortens_what_is_longer_than_the_radius_and_nothing_else(e, expected):
    tx, e = project_to_radius(1.0), jnp.asarray(e, jnp.float32)
    np.testing.assert_allclose(tx.update(e, tx.init(e))[0], expected, rtol=1e-6)


def test_projection_keeps_the_bits_of_what_is_in_the_ball_or_on_it():
    rng = np.random.default_rng(0)
    sphere, ball = scale_to_radius(0.7), project_to_radius(0.7)
    project = jax.jit(lambda e: ball.update(e, ball.init(e))[0])
    for _ in range(20):
        g = jnp.asarray(rng.normal(size=1000), jnp.float32)
        e, _ = sphere.update(g, sphere.init(g))
        assert_bitwise_equal(project(e), e)
        assert_bitwise_equal(project(0.99 * e), 0.99 * e)


def test_what_is_missing_or_wrong_is_said_in_a_sentence():
    w = jnp.ones(2)
    tx = add_direction(0.5)
    with pytest.raises(TypeError, match="add_direction: update needs the keyword noise_grads"):
        tx.update(w, tx.init(w))
    with pytest.raises(ValueError, match="add_direction: noise_grads must have the shapes"):
        tx.update(w, tx.init(w), noise_grads=jnp.ones(3))
    with pytest.raises(ValueError, match="add_direction: scale must be a finite number"):
        ncsam(0.1, -0.1)
    with pytest.raises(ValueError, match="project_to_radius: rho must be a finite number"):
        project_to_radius(-1.0)
    with pytest.raises(ValueError, match="smooth_ramp: num_epochs must be above 0, got 0"):
        smooth_ramp(0.1, num_epochs=0, steps_per_epoch=10)
    with pytest.raises(ValueError, match="simulate_flips: share must be between 0 and 1"):
        simulate_flips(jax.random.key(0), jnp.ones((2, 3)), jnp.zeros(2, int), share=1.5)


def test_the_ramp_is_the_cubic_of_the_paper_up_to_its_end():
    ramp = smooth_ramp(0.2, num_epochs=4, steps_per_epoch=25)
    counts = np.arange(0, 201)
    t = np.minimum(counts / 100, 1.0)
    expected = 0.2 * np.minimum(1.0, 2 * (3 - 2 * t) * t**2)
    found = [float(ramp(jnp.int32(count))) for count in counts]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert np.all(np.diff(found) >= 0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.58, 1.0])
def test_flips_are_as_many_as_asked_and_go_to_the_likeliest_other_class(share):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 50).astype(np.int32)
    flip = jax.jit(simulate_flips, static_argnames="share")
    flipped = np.asarray(flip(jax.random.key(1), logits, labels, share=share))
    changed = flipped != labels
    assert flipped.dtype == labels.dtype
    assert changed.sum() == int(share * 50)
    logits[np.arange(50), labels] = -np.inf
    np.testing.assert_array_equal(flipped[changed], logits.argmax(axis=1)[changed])


@pytest.mark.slow
def test_flips_are_drawn_in_turn_in_proportion_to_how_unsure_the_model_is():
    """The chances of all pairs of five, enumerated, against 20,000 draws."""
    gaps = np.array([0.0, 0.5, 1.0, 3.0, 8.0])
    logits = jnp.asarray(np.stack([gaps, np.zeros(5), np.full(5, -9.0)], axis=1), jnp.float32)
    labels = jnp.zeros(5, jnp.int32)
    num_draws = 20_000
    keys = jax.random.split(jax.random.key(0), num_draws)
    flips = jax.jit(jax.vmap(lambda key: simulate_flips(key, logits, labels, 0.4)))(keys)
    changed = np.asarray(flips) == 1

    q = 1 / (1 + gaps)
    statistic = 0.0
    for i, j in itertools.combinations(range(5), 2):
        chance = q[i] * q[j] / q.sum() * (1 / (q.sum() - q[i]) + 1 / (q.sum() - q[j]))
        seen = np.sum(changed[:, i] & changed[:, j])
        statistic += (seen - num_draws * chance) ** 2 / (num_draws * chance)
    assert np.all(changed.sum(axis=1) == 2)
    # Nine degrees of freedom: 27.9 is exceeded by chance once in a thousand keys.
    assert statistic < 27.9
    # Drawing uniformly would be far off.
    assert changed[:, 0].mean() > 2 * changed[:, 4].mean()


@pytest.mark.slow
def test_flips_of_logits_that_are_not_finite_are_flips_all_the_same():
    logits = jnp.asarray([[jnp.nan] * 3, [jnp.inf, 0.0, -jnp.inf], [-jnp.inf] * 3, [0.0, 1.0, 2.0]])
    labels = jnp.asarray([0, 0, 0, 2])
    flipped = np.asarray(simulate_flips(jax.random.key(0), logits, labels, 1.0))
    np.testing.assert_array_equal(flipped, [1, 1, 1, 1])
