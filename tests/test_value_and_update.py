"""`value_and_update` is the update, and returns the outputs of both passes from anywhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import assert_bitwise_equal
from recipe_rows import REQUIRED

import saner_jax
from saner_jax import RECIPES, every_steps, look_if, per_group, sam, saner, value_and_update

each_wrap = pytest.mark.parametrize(
    "wrap", [pytest.param(lambda f: f, marks=pytest.mark.slow, id="eager"), jax.jit]
)
X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
PARAMS = {"w": jnp.array([0.5, -0.3, 0.8]), "b": jnp.array(0.1)}


def loss_of(params, x):
    out = jnp.tanh(x @ params["w"] + params["b"])
    return jnp.mean(out**2), {"out": out, "largest": jnp.max(jnp.abs(out))}


def loss(params):
    return loss_of(params, X)


grad_fn = jax.jit(jax.grad(lambda params: loss(params)[0]))
step = functools.partial(value_and_update, loss_fn=loss, has_aux=True)


def expected_outputs(tx, state, **extra):
    """Return the outputs at the parameters and at those that `perturbed_params` names."""
    at = saner_jax.perturbed_params(tx, grad_fn(PARAMS), state, PARAMS, **extra)
    return loss(PARAMS), loss(at)


QUICK = ("saner", "look_sam", "ncsam")


@pytest.mark.parametrize(
    "name", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in RECIPES]
)
@each_wrap
def test_it_is_the_update_and_returns_both_losses(name, wrap):
    tx = optax.chain(RECIPES[name](rho=0.2, **REQUIRED.get(name, {})), optax.sgd(0.1))
    state, grads = tx.init(PARAMS), grad_fn(PARAMS)
    extra = {"noise_grads": jax.tree.map(jnp.cos, grads)}
    done = wrap(lambda p, s: step(tx, params=p, state=s, **extra))(PARAMS, state)
    plain = wrap(lambda g, p, s: tx.update(g, s, p, grad_fn=grad_fn, **extra))
    updates, after = plain(grads, PARAMS, state)
    tolerance = {"rtol": 1e-6, "atol": 1e-7}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), done.updates, updates)
    assert jax.tree.structure(done.state) == jax.tree.structure(after)
    origin, perturbed = expected_outputs(tx, state, **extra)
    for found, wanted in ((done.origin, origin), (done.perturbed, perturbed)):
        np.testing.assert_allclose(found.value, wanted[0], rtol=1e-6)
        np.testing.assert_allclose(found.aux["out"], wanted[1]["out"], rtol=1e-5)
    assert done.perturbed.value > done.origin.value


def test_a_transformation_without_a_second_pass_repeats_the_first():
    tx = optax.sgd(0.1, momentum=0.9)
    done = step(tx, params=PARAMS, state=tx.init(PARAMS))
    updates, _ = tx.update(grad_fn(PARAMS), tx.init(PARAMS), PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), done.updates, updates)
    assert done.perturbed is done.origin


@pytest.mark.parametrize("looked", [None, True, False])
def test_a_skipped_step_repeats_the_first_output(looked):
    tx = optax.chain(look_if(saner(0.2), every_steps(2)), optax.sgd(0.1))
    state, run = tx.init(PARAMS), jax.jit(lambda p, s: step(tx, params=p, state=s, looked=looked))
    _, perturbed = expected_outputs(tx, state)
    for number in range(4):
        done = run(PARAMS, state)
        is_skipped = number % 2 == 1 if looked is None else not looked
        wanted = loss(PARAMS) if is_skipped else perturbed
        np.testing.assert_allclose(done.perturbed.value, wanted[0], rtol=1e-6)
        np.testing.assert_allclose(done.perturbed.aux["out"], wanted[1]["out"], rtol=1e-5)
        state = done.state


def test_a_rejected_step_repeats_the_first_output():
    tx = optax.apply_if_finite(optax.chain(sam(0.2), optax.sgd(0.1)), 5)
    state = tx.init(PARAMS)
    run = jax.jit(lambda p, s: step(tx, params=p, state=s))
    done = run(PARAMS, state)
    wanted = expected_outputs(optax.chain(sam(0.2)), optax.chain(sam(0.2)).init(PARAMS))[1]
    np.testing.assert_allclose(done.perturbed.value, wanted[0], rtol=1e-6)
    broken = {**PARAMS, "b": jnp.array(jnp.nan)}
    done = run(broken, state)
    assert jnp.isnan(done.perturbed.value)
    assert jnp.isnan(done.perturbed.aux["out"]).all()
    assert not any(jnp.any(u) for u in jax.tree.leaves(done.updates))


@pytest.mark.parametrize("chunk", [None, 1, pytest.param(3, marks=pytest.mark.slow)])
@each_wrap
def test_groups_give_the_means_of_their_outputs(chunk, wrap):
    tx = optax.chain(per_group(saner(0.2), chunk_groups=chunk), optax.sgd(0.1))
    groups = X.reshape(4, 2, 3)
    run = wrap(lambda p, s: value_and_update(tx, loss_of, p, s, has_aux=True, groups=groups))
    done = run(PARAMS, tx.init(PARAMS))
    group_grad_fn = jax.grad(lambda p, x: loss_of(p, x)[0])
    updates, _ = tx.update(
        grad_fn(PARAMS), tx.init(PARAMS), PARAMS, grad_fn=group_grad_fn, groups=groups
    )
    tolerance = {"rtol": 1e-5, "atol": 1e-7}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), done.updates, updates)
    first, second = [], []
    for x in groups:
        grads = group_grad_fn(PARAMS, x)
        at = saner_jax.perturbed_params(saner(0.2), grads, saner(0.2).init(PARAMS), PARAMS)
        first.append(loss_of(PARAMS, x))
        second.append(loss_of(at, x))
    for found, wanted in ((done.origin, first), (done.perturbed, second)):
        mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *wanted)
        np.testing.assert_allclose(found.value, mean[0], rtol=1e-5)
        np.testing.assert_allclose(found.aux["largest"], mean[1]["largest"], rtol=1e-5)


def test_a_stage_behind_the_groups_reads_the_mean_gradient():
    tx = per_group(sam(0.2), saner_jax.damp_shrunk(0.5))
    groups = X.reshape(4, 2, 3)
    done = value_and_update(tx, loss_of, PARAMS, tx.init(PARAMS), has_aux=True, groups=groups)
    group_grad_fn = jax.grad(lambda p, x: loss_of(p, x)[0])
    updates, _ = tx.update(
        grad_fn(PARAMS), tx.init(PARAMS), PARAMS, grad_fn=group_grad_fn, groups=groups
    )
    tolerance = {"rtol": 1e-5, "atol": 1e-7}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), done.updates, updates)


def test_groups_without_a_recipe_are_refused():
    tx = optax.sgd(0.1)
    with pytest.raises(ValueError, match="with groups, tx must hold a recipe"):
        value_and_update(tx, loss_of, PARAMS, tx.init(PARAMS), has_aux=True, groups=X[:, None])


def test_devices_give_the_mean_of_the_second_pass():
    tx = optax.chain(saner_jax.per_device(sam(0.2), "data"), optax.sgd(0.1))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(spec(), spec("data")),
        out_specs=(spec(), spec(), spec("data")),
    )
    def run(params, x):
        done = value_and_update(
            tx, lambda p: loss_of(p, x)[0], params, tx.init(params), axis_name="data"
        )
        return done.updates, done.perturbed.value, done.origin.value[None]

    updates, perturbed, origin = run(PARAMS, X)
    own = jax.grad(lambda p, x: loss_of(p, x)[0])
    seconds, kept = [], []
    for x in X.reshape(4, 2, 3):
        grads = own(PARAMS, x)
        at = saner_jax.perturbed_params(sam(0.2), grads, sam(0.2).init(PARAMS), PARAMS)
        seconds.append(loss_of(at, x)[0])
        kept.append(own(at, x))
    np.testing.assert_allclose(perturbed, np.mean(seconds), rtol=1e-5)
    np.testing.assert_allclose(
        origin, [loss_of(PARAMS, x)[0] for x in X.reshape(4, 2, 3)], rtol=1e-5
    )
    mean = jax.tree.map(lambda *leaves: -0.1 * np.mean(leaves, axis=0), *kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), updates, mean)


def test_seeds_under_vmap_and_steps_under_scan():
    tx = optax.chain(saner(0.2), optax.sgd(0.1))
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), PARAMS)

    def run(params):
        def one(carry, _):
            done = step(tx, params=carry[0], state=carry[1])
            return (optax.apply_updates(carry[0], done.updates), done.state), done.perturbed.value

        return jax.lax.scan(one, (params, tx.init(params)), None, length=3)[1]

    together = jax.jit(jax.vmap(run))(many)
    alone = [run(PARAMS), run(jax.tree.map(lambda x: 2 * x, PARAMS))]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_the_loss_is_the_value_that_optax_asks_for():
    tx = optax.chain(sam(0.0), optax.polyak_sgd(max_learning_rate=1.0))
    only = lambda p: loss(p)[0]
    done = value_and_update(tx, only, PARAMS, tx.init(PARAMS))
    updates, _ = tx.update(
        grad_fn(PARAMS), tx.init(PARAMS), PARAMS, grad_fn=grad_fn, value=only(PARAMS)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), done.updates, updates)
    assert done.origin.aux is None


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "base",
    [optax.lbfgs(), optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10))],
    ids=["lbfgs", "backtracking"],
)
def test_line_searches_work_as_the_base(base):
    tx = optax.chain(sam(0.01), base)
    only = lambda p: loss(p)[0] + jnp.sum(p["w"] ** 2)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        value, grads = jax.value_and_grad(only)(params)
        by_hand, _ = tx.update(
            grads,
            state,
            params,
            grad_fn=jax.grad(only),
            value=value,
            grad=grads,
            value_fn=lambda p, grad_fn=None: only(p),
        )
        done = value_and_update(tx, only, params, state, noise_grads=None)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        jax.tree.map(close, done.updates, by_hand)
        params, state = optax.apply_updates(params, done.updates), done.state
    assert only(params) < only(PARAMS)


@pytest.mark.usefixtures("standard_promotion")
def test_both_passes_draw_the_same_dropout_and_a_clone_satisfies_the_check_of_keys():
    tx = sam(0.1)

    def dropped(p, key):
        return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, p["w"].shape), p["w"], 0.0) ** 2)

    def update(p, key, clone):
        return value_and_update(tx, lambda at: dropped(at, clone(key)), p, tx.init(p)).updates

    key = jax.random.key(1)
    plain = jax.jit(lambda p, key: update(p, key, lambda key: key))(PARAMS, key)
    with jax.debug_key_reuse(True):
        cloned = jax.jit(lambda p, key: update(p, key, jax.random.clone))(PARAMS, key)
    assert_bitwise_equal(plain, cloned)
    assert (np.asarray(plain["w"]) == 0).any()


def test_it_costs_what_the_update_costs():
    tx = optax.chain(saner(0.2, metrics=True), optax.sgd(0.1))
    shapes = jax.eval_shape(lambda: ({"w": jnp.zeros((64, 64)), "b": jnp.zeros((1, 64))}))
    x = jnp.zeros((128, 64))

    def only(p):
        return jnp.mean(jnp.tanh(x @ p["w"] + p["b"]) ** 2)

    def plain(p):
        state = tx.init(p)
        value, grads = jax.value_and_grad(only)(p)
        return value, tx.update(grads, state, p, grad_fn=jax.grad(only))

    def new(p):
        done = value_and_update(tx, only, p, tx.init(p))
        return done.origin.value, (done.updates, done.state)

    flops = lambda f: jax.jit(f).lower(shapes).compile().cost_analysis()["flops"]
    assert flops(new) <= flops(plain) * 1.0001


# --- two phases ----------------------------------------------------------------------------------


def along_a_hessian_product(beta=0.1):
    """Return a combine stage that adds a Hessian-vector product along the perturbation."""

    def update(updates, state, params, *, grad_fn, perturbation, **_):
        _, product = jax.jvp(grad_fn, (params,), (perturbation,))
        return jax.tree.map(lambda g, h: g + beta * h, updates, product), state

    return optax.GradientTransformationExtraArgs(optax.identity().init, update)


TWO_PHASES = {
    "climb": saner_jax.sharpness_aware(saner_jax.climb(saner_jax.scale_to_radius(0.2), 3)),
    "hessian": saner_jax.sharpness_aware(
        saner_jax.scale_to_radius(0.2), along_a_hessian_product(), metrics=True
    ),
    "masked": saner_jax.sharpness_aware(
        saner_jax.climb(saner_jax.scale_to_radius(0.2), 2),
        along_a_hessian_product(),
        perturb_mask={"w": True, "b": False},
        metrics=True,
    ),
    "look_if": look_if(saner(0.2), every_steps(2)),
    "look_sam": saner_jax.look_sam(0.2),
    **{name: recipe(rho=0.2, **REQUIRED.get(name, {})) for name, recipe in RECIPES.items()},
}


@pytest.mark.parametrize("name", TWO_PHASES)
def test_two_phases_are_the_single_call_bitwise(name):
    tx = TWO_PHASES[name]
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        grads = grad_fn(params)
        extra = {"noise_grads": jax.tree.map(jnp.cos, grads)}
        one = tx.update(grads, state, params, grad_fn=grad_fn, **extra)
        at = saner_jax.perturbed_params(tx, grads, state, params, grad_fn=grad_fn, **extra)
        two = tx.update(grads, state, params, grad_fn=grad_fn, perturbed_grads=grad_fn(at), **extra)
        assert_bitwise_equal(one, two)
        params, state = jax.tree.map(lambda w, g: w - 0.1 * g, params, one[0]), one[1]


def test_perturbed_gradients_alone_serve_where_no_stage_needs_grad_fn():
    tx, grads = saner(0.2), grad_fn(PARAMS)
    given = jax.tree.map(jnp.sin, grads)
    found, _ = tx.update(grads, tx.init(PARAMS), PARAMS, perturbed_grads=given)
    wanted, _ = tx.update(grads, tx.init(PARAMS), PARAMS, grad_fn=lambda _: given)
    assert_bitwise_equal(found, wanted)
    with pytest.raises(TypeError, match="needs the keyword grad_fn"):
        tx.update(grads, tx.init(PARAMS), PARAMS)
    with pytest.raises(TypeError, match="per_group: update takes no perturbed_grads"):
        per_group(tx).update(
            grads,
            per_group(tx).init(PARAMS),
            PARAMS,
            grad_fn=grad_fn,
            perturbed_grads=given,
            groups=X[:, None],
        )


def test_a_combine_stage_sees_the_perturbation_that_was_added():
    seen = []

    def update(updates, state, params, *, perturbation, origin_grads, **_):
        seen.append((perturbation, origin_grads))
        return updates, state

    keep = optax.GradientTransformationExtraArgs(optax.identity().init, update)
    mask = {"w": True, "b": False}
    tx = saner_jax.sharpness_aware(saner_jax.scale_to_radius(0.2), keep, perturb_mask=mask)
    grads, state = grad_fn(PARAMS), tx.init(PARAMS)
    tx.update(grads, state, PARAMS, grad_fn=grad_fn)
    at = saner_jax.perturbed_params(tx, grads, state, PARAMS)
    ((perturbation, origin),) = seen
    assert_bitwise_equal(origin, grads)
    np.testing.assert_allclose(at["w"] - PARAMS["w"], perturbation["w"], rtol=1e-5)
    assert perturbation["b"] == 0
    np.testing.assert_allclose(jnp.linalg.norm(perturbation["w"]), 0.2, rtol=1e-6)
