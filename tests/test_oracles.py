"""Our recipes walk the path of the papers' rules, and those reproduce independent numbers."""

import functools
import inspect

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from recipe_rows import REQUIRED, each_recipe, make

import saner_jax

BASE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
STEPS = 40
QUICKLY = {"xla_backend_optimization_level": 0}  # small steps take less time than compiling them
RHO = 0.5  # large enough that every run damps, flips and grows coordinates

# Settings away from the defaults, where a wrong convention would show, and not round in binary.
STRENGTHS = {
    "sam": {},
    "asam": {"eta": 0.3},
    "gsam": {"alpha": 0.7},
    "friendly_sam": {"sigma": 0.5, "decay": 0.6},
    "vasso": {"theta": 0.2},
    "saner": {"alpha": 0.8},
    "asaner": {"alpha": 0.8, "eta": 0.1, "scaled": "all"},
    "gsaner": {"alpha": 0.8, "gsam_alpha": 0.7},
    "friendly_saner": {"alpha": 0.8, "sigma": 0.5, "decay": 0.6},
    "vasso_saner": {"alpha": 0.8, "theta": 0.2},
    "wsam": {"gamma": 0.7},
    "stable_sam": {},
    "zsharp": {"quantile": 0.4},
    "sparse_sam": {"sparsity": 0.7, "decay": 0.5},
    "sam_only": {},
    "sam_without": {},
    "look_sam": {"alpha": 0.6, "period": 3},
    "ae_sam": {"num_steps": 30, "first": 0.4, "last": -0.6},
    "ncsam": {"kappa": 0.2},
}

# Parameters after one step and after three, computed twice from the rules of lhchau/saner @07fd303
# by other code than ours. Its multiplier .5 on shrunk coordinates is the paper's alpha .5.
WORKED = {
    "sgd": (
        (0.80895000, -0.65072500, 0.76884000, -1.21866000),
        (0.15287140, -1.35936895, 0.67929241, -1.32842549),
    ),
    "sam": (
        (0.60466561, -0.63631832, 0.72582275, -1.19934381),
        (-0.48085123, -1.08904584, 0.48525315, -1.26855641),
    ),
    "asam": (
        (0.58814570, -0.68004702, 0.74522461, -1.19432978),
        (-0.41588965, -1.26182896, 0.53090809, -1.25409257),
    ),
    "saner": (
        (0.60466561, -0.56814666, 0.72582275, -1.19934381),
        (-0.50690581, -0.78401911, 0.46386673, -1.23231313),
    ),
    "asaner": (
        (0.58814570, -0.68004702, 0.74522461, -1.19432978),
        (-0.41670232, -1.12489380, 0.52953037, -1.21875180),
    ),
    "gsam": (
        (0.60441986, -0.63555439, 0.72572963, -1.19915336),
        (-0.48156003, -1.08411478, 0.48429769, -1.26781275),
    ),
    "gsaner": (
        (0.60441986, -0.56776469, 0.72572963, -1.19915336),
        (-0.50754189, -0.78160528, 0.46299550, -1.23162699),
    ),
    "friendly_sam": (
        (0.60466561, -0.63631832, 0.72582275, -1.19934381),
        (0.24368926, -1.15070910, 0.66543179, -1.35276653),
    ),
    "friendly_saner": (
        (0.60466561, -0.56814666, 0.72582275, -1.19934381),
        (0.23640762, -0.82287355, 0.65104373, -1.35353861),
    ),
    "vasso": (
        (0.60466561, -0.63631832, 0.72582275, -1.19934381),
        (-0.70481047, -1.20033323, 0.46607823, -1.24589901),
    ),
    "vasso_saner": (
        (0.60466561, -0.56814666, 0.72582275, -1.19934381),
        (-0.72342967, -0.83576195, 0.45214283, -1.22178390),
    ),
}


@pytest.mark.parametrize("name", WORKED)
def test_oracle_reproduces_the_worked_numbers(name):
    a = np.array([[2, 0.5, 0, -0.3], [0.5, -1, 0.4, 0], [0, 0.4, 1.5, 0.2], [-0.3, 0, 0.2, -0.5]])
    b = np.array([0.3, -0.2, 0.5, 0.1])
    grad = lambda w, step: a @ w - b + 0.1 * w**3
    given = {"eta": 0.0, "scaled": "all"} if name in ("asam", "asaner") else {}
    given |= {"theta": 0.2} if "vasso" in name else {}
    # SGD is SAM that does not look around.
    method, rho = ("sam", 0.0) if name == "sgd" else (name, 0.9)

    after = oracles.run(method, grad, [1, -0.5, 0.8, -1.2], 3, rho=rho, **BASE, **given)

    printed = 0.5e-8 * 1.001  # half a unit of the last digit printed
    np.testing.assert_allclose(after[0], WORKED[name][0], rtol=0, atol=printed)
    np.testing.assert_allclose(after[2], WORKED[name][1], rtol=0, atol=printed)


def make_network():
    """Return the parameters of a 6-8-3 tanh network, and three batches of 8 inputs and targets."""
    rng = np.random.default_rng(27)  # no ratio too close to 1 for float32, as asserted below
    # Multiples of 1/256 are the same numbers in float32 and float64.
    draw = lambda *shape: np.round(256 * rng.normal(0, 0.6, shape)) / 256
    params = {
        "dense1": {"kernel": draw(6, 8), "bias": draw(8)},
        "dense2": {"kernel": draw(8, 3), "bias": draw(3)},
    }
    return params, draw(3, 8, 6), draw(3, 8, 3)


def gradient(params, x, targets):
    def mean_loss(params):
        hidden = jnp.tanh(x @ params["dense1"]["kernel"] + params["dense1"]["bias"][None])
        output = jnp.tanh(hidden @ params["dense2"]["kernel"] + params["dense2"]["bias"][None])
        return jnp.mean(jnp.sum((output - targets) ** 2, axis=1))

    return jax.grad(mean_loss)(params)


@functools.cache
def compiled_gradient():
    return jax.jit(gradient, compiler_options=QUICKLY)


@functools.cache
def flat_network():
    """Return (flat gradient of flat w and step, flat start, which are biases, tensors)."""
    params, x, targets = make_network()
    w0, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, params))
    flat = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
    grad = jax.jit(lambda w, x, y: flat(gradient(unravel(w), x, y)), compiler_options=QUICKLY)
    paths = jax.tree_util.tree_leaves_with_path(params)
    is_bias = np.concatenate([np.full(leaf.size, path[-1].key == "bias") for path, leaf in paths])
    ends = np.cumsum([leaf.size for _, leaf in paths])
    tensors = [
        (end - leaf.size, end, leaf.ndim) for end, (_, leaf) in zip(ends, paths, strict=True)
    ]
    flat_grad = lambda w, i, sign=1: np.asarray(grad(w, x[i % 3], sign * targets[i % 3]))
    return flat_grad, np.asarray(w0), is_bias, tensors


@functools.cache
def oracle_steps(name, rho=RHO, **given):
    """Return the oracle's steps on the network; gradients by jax in float64, rules by NumPy."""
    with jax.enable_x64(True):
        grad, w0, is_bias, tensors = flat_network()
        # Wrong labels are the targets with the opposite sign.
        noise_grad = functools.partial(grad, sign=-1)
        settings = dict(BASE, rho=rho, is_bias=is_bias, tensors=tensors, noise_grad=noise_grad)
        given = {**REQUIRED.get(name, {}), **given}
        return list(oracles.steps(name, grad, w0, STEPS, **settings, **given))


def walk(recipe, dtype):
    """Return the flat parameters after each of our steps, (STEPS, n)."""
    optimizer = optax.chain(
        recipe,
        optax.add_decayed_weights(BASE["weight_decay"]),
        optax.sgd(BASE["learning_rate"], momentum=BASE["momentum"]),
    )

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def step(grads, state, params, x, targets):
        grad_fn = lambda at: gradient(at, x, targets)
        noise_grads = gradient(params, x, -targets)
        updates, state = optimizer.update(
            grads, state, params, grad_fn=grad_fn, noise_grads=noise_grads
        )
        return optax.apply_updates(params, updates), state

    params, x, targets = jax.tree.map(lambda array: np.asarray(array, dtype), make_network())
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    path = []
    for i in range(STEPS):
        batch = x[i % 3], targets[i % 3]
        params, state = step(compiled_gradient()(params, *batch), state, params, *batch)
        path.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))
    return np.stack(path)


def deviation(ours, truth):
    """Return the largest error of any coordinate, relative to the largest parameter of its step."""
    truth = np.stack([step.params for step in truth])
    return np.max(np.abs(ours - truth) / np.max(np.abs(truth), axis=1, keepdims=True))


@each_recipe
def test_recipe_follows_its_oracle_in_float64(name):
    with jax.enable_x64(True):
        ours = walk(make(name, RHO, **STRENGTHS[name]), np.float64)
    assert deviation(ours, oracle_steps(name, **STRENGTHS[name])) < 1e-10


# A step rounds at 6e-8; forty of them with momentum on a curved loss arrive at 1e-6 to 1e-5.
@pytest.mark.slow
@each_recipe
def test_recipe_with_its_defaults_follows_its_oracle_in_float32(name):
    # WSAM weighs what it finds ninefold: at the large radius forty steps amplify any rounding.
    rho = 0.05 if name == "wsam" else RHO
    ours = walk(make(name, rho), np.float32)
    assert ours.dtype == np.float32
    assert deviation(ours, oracle_steps(name, rho)) < 1e-4


def test_strength_schedule_follows_its_oracle():
    # Not optax.linear_schedule, which computes in float32 whatever the precision of the run.
    schedule = lambda count: 0.5 * jnp.minimum(count.astype(np.float64) / 20, 1.0)
    with jax.enable_x64(True):
        ours = walk(saner_jax.saner(RHO, alpha=schedule), np.float64)
    truth = oracle_steps("saner", alpha=lambda step: 0.5 * min(step / 20, 1.0))
    assert deviation(ours, truth) < 1e-10
    # The schedule starts at 0, so the first update is SAM's, and SANER's after that.
    np.testing.assert_allclose(ours[0], oracle_steps("sam")[0].params, rtol=1e-12)
    assert deviation(ours, oracle_steps("saner")) > 1e-3


def test_radius_schedule_follows_its_oracle():
    schedule = lambda count: 0.05 + 0.45 * jnp.minimum(count.astype(np.float64) / 30, 1.0)
    with jax.enable_x64(True):
        ours = walk(saner_jax.sam(schedule), np.float64)
    truth = oracle_steps("sam", rho=lambda step: 0.05 + 0.45 * min(step / 30, 1.0))
    assert deviation(ours, truth) < 1e-10
    assert deviation(ours, oracle_steps("sam")) > 1e-3


def test_the_network_tells_the_methods_apart():
    """If two methods agreed here, agreeing with an oracle would prove nothing."""
    paths = {name: oracle_steps(name) for name in oracles.DEFAULTS}
    for name, given in STRENGTHS.items():
        if given:
            paths[f"{name} {given}"] = oracle_steps(name, **given)
    paths["asam on biases"] = oracle_steps("asam", scaled="all")
    for one in paths:
        for other in paths:
            if one < other:
                apart = deviation(np.stack([step.params for step in paths[one]]), paths[other])
                assert apart > 1e-3, f"{one} and {other}"


@pytest.mark.parametrize("name", oracles.DEFAULTS)
def test_the_network_shrinks_grows_and_flips_coordinates(name):
    ratio = np.stack([s.perturbed / s.origin for s in oracle_steps(name) if s.looked])
    shrunk = (ratio > 0) & (ratio < 1)
    assert np.all(np.any(shrunk, axis=1)), "nothing shrinks at some step"
    for group in (shrunk, ratio > 1, ratio < 0):
        assert np.mean(group) > 0.1
    if name in oracles.DAMPED:
        assert np.min(np.abs(ratio - 1)) > 1e-4, "float32 might not see which side of 1 it is on"


def test_every_recipe_has_an_oracle_with_the_same_defaults():
    assert set(saner_jax.RECIPES) == set(oracles.DEFAULTS) == set(STRENGTHS)
    for name, recipe in saner_jax.RECIPES.items():
        arguments = inspect.signature(recipe).parameters
        for strength, default in oracles.DEFAULTS[name].items():
            expected = inspect.Parameter.empty if default is None else default
            assert arguments[strength].default == expected, (name, strength)


@pytest.mark.parametrize(("name", "given"), [("look_sam", {}), ("ae_sam", {"num_steps": 30})])
def test_the_network_has_steps_that_skip_the_second_pass_and_steps_that_do_not(name, given):
    looked = np.array([step.looked for step in oracle_steps(name, **given)])
    assert 0.2 <= np.mean(looked) <= 0.8
