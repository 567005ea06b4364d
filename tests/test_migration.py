"""The migration guide: equal trajectories are run side by side, and differences are shown."""

import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_golden import error, read

import saner_jax

TEXT = (pathlib.Path(__file__).parents[1] / "docs/migration.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
# A newer version may give other results; then the text must be changed.
as_measured = pytest.mark.skipif(optax.__version__ != "0.2.8", reason="the text tells of 0.2.8")


def walk(step, tx, names, num_steps=12):
    step.clear_cache()
    params, state, path = names["params"], tx.init(names["params"]), []
    for _ in range(num_steps):
        params, state = step(params, state, names["batch"])
        path.append(jnp.concatenate([params["w1"].ravel(), params["w2"]]))
    return np.stack(path)


@pytest.fixture(scope="module")
def told():
    """Return the variables after each block of the text, and the two trajectories of a pair."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        rng = np.random.default_rng(0)
        model = lambda p, x: jnp.tanh(x @ p["w1"]) @ p["w2"]
        names = {
            **{"jax": jax, "jnp": jnp, "optax": optax, "saner_jax": saner_jax},
            "params": {"w1": jnp.asarray(rng.normal(size=(3, 4))), "w2": jnp.ones(4)},
            "batch": rng.normal(size=(16, 3)),
            "loss": lambda p, x: jnp.mean((model(p, x) - 1) ** 2),
        }
        after_each = []
        for block in BLOCKS:
            exec(block, names)
            paths = ()
            if re.search(r"^before = ", block, re.MULTILINE):
                before = walk(names["step_before"], names["before"], names)
                paths = before, walk(names["step"], names["after"], names)
            after_each.append({**names, "paths": paths})
    return after_each


PAIRS = [i for i, block in enumerate(BLOCKS) if re.search(r"^before = ", block, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.parametrize("index", PAIRS)
def test_before_and_after_stay_at_the_same_parameters(told, index):
    before, after = told[index]["paths"]
    assert not np.allclose(after[0], after[-1], rtol=0.05)
    np.testing.assert_allclose(after, before, rtol=1e-11)


def test_a_pair_stands_for_every_way_of_using_optaxs():
    text = TEXT.partition("## From davda54")[0]
    assert len(PAIRS) == text.count("\nbefore = ") == 4


@pytest.mark.slow
def test_radii_of_groups_share_one_norm(told):
    names = next(n for n, block in zip(told, BLOCKS, strict=True) if "radii = " in block)
    with jax.enable_x64(True):
        params = names["params"]
        grads = jax.grad(names["loss"])(params, names["batch"])
        recipe = saner_jax.sharpness_aware(names["look"])
        perturbed = saner_jax.perturbed_params(recipe, grads, recipe.init(params), params)
        norm = optax.tree.norm(grads)
        for name, rho in {"w1": 0.05, "w2": 0.5}.items():
            moved = perturbed[name] - params[name]
            np.testing.assert_allclose(moved, rho * grads[name] / norm, rtol=1e-9)


def golden_name(run):
    """Return the trajectory of the authors' classes, run as the text describes."""
    arguments = {"rho": run["rho"], **run["kwargs"]}
    return f"{run['cls']}({', '.join(f'{name}={value}' for name, value in arguments.items())})"


@pytest.mark.slow
def test_what_is_told_of_the_authors_classes_walks_their_paths(told):
    golden, names = read("p4"), told[-1]
    runs = {golden_name(run): run for run in golden.runs.values() if run["config"] == "base"}
    assert names["same"].keys() == runs.keys()
    # The snippet for davda54/sam has the same rule and the same settings.
    davda54 = next(n for n, block in zip(told, BLOCKS, strict=True) if "sam(rho=0.1)" in block)
    chains = {name: optax.chain(tx, *names["base"]) for name, tx in names["same"].items()}
    for name, tx in [*chains.items(), ("SAM(rho=0.1)", davda54["after"])]:
        with jax.enable_x64(True):
            a, b = (jnp.asarray(golden.arrays[f"data_{letter}"]) for letter in "Ab")
            grad_fn = lambda w, a=a, b=b: a @ w - b
            w, path = jnp.asarray(golden.start["w"]), []
            state = tx.init(w)
            for _ in range(golden.header["steps"]):
                updates, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
                w = optax.apply_updates(w, updates)
                path.append(w)
        rows = golden.arrays["full_params_run"] == runs[name]["index"]
        assert error(np.stack(path), golden.arrays["full_params"][rows]) < 1e-10, name


@pytest.mark.slow
def test_the_authors_warm_up_rises_by_the_epoch_and_ours_by_the_update(told):
    theirs, ours = told[-1]["their_alpha"], told[-1]["our_alpha"]
    # Epochs from 1, in the paper's units: one minus the factors .99, .98, .90, .75, .51, .50.
    expected = {1: 0.01, 2: 0.02, 10: 0.1, 25: 0.25, 49: 0.49, 50: 0.5, 51: 0.5}
    for epoch, strength in expected.items():
        for count in (390 * (epoch - 1), 390 * epoch - 1):
            assert float(theirs(count)) == pytest.approx(strength)
    assert float(ours(0)) == 0
    assert float(ours(390 * 25)) == pytest.approx(0.25)


def test_every_call_told_of_takes_its_arguments():
    seen = set()
    for name, inside in re.findall(r"`(\w+)\(([^`]*)\)`", TEXT):
        function = getattr(saner_jax, name, None)
        if callable(function):
            keywords = re.findall(r"(\w+)=", inside)
            assert set(keywords) <= inspect.signature(function).parameters.keys(), name
            seen.add(name)
    assert {"asam", "asaner", "gsaner", "friendly_sam", "vasso", "sam_only"} <= seen


ADVERSARY = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
OPAQUE = optax.contrib.sam(optax.sgd(0.1), ADVERSARY, opaque_mode=True)
TRANSPARENT = optax.contrib.sam(optax.sgd(0.1), ADVERSARY)
OURS = optax.chain(saner_jax.sam(0.1), optax.sgd(0.1))
identity = lambda w, *_: w


@pytest.mark.slow
@as_measured
def test_a_zero_gradient_gives_nan_there_and_nothing_here():
    w = jnp.zeros(2)
    there, _ = OPAQUE.update(w, OPAQUE.init(w), w, grad_fn=identity)
    here, _ = OURS.update(w, OURS.init(w), w, grad_fn=identity)
    assert jnp.isnan(there).all()
    np.testing.assert_array_equal(here, [0, 0])


@pytest.mark.slow
@as_measured
@pytest.mark.usefixtures("standard_promotion")
def test_a_schedule_behind_the_transparent_mode_counts_twice():
    counting = optax.scale_by_schedule(lambda count: jnp.ones(()))
    w = jnp.ones(2)
    there, here = optax.chain(TRANSPARENT, counting), optax.chain(OURS, counting)
    state = there.init(w)
    for _ in range(2):
        _, state = there.update(w, state, w)
    assert int(state[1].count) == 2
    assert int(here.update(w, here.init(w), w, grad_fn=identity)[1][-1].count) == 1


@pytest.mark.slow
@as_measured
@pytest.mark.usefixtures("standard_promotion")
def test_other_keywords_are_refused_there_and_passed_on_here():
    w = jnp.ones(2)
    with pytest.raises(TypeError, match="value"):
        OPAQUE.update(w, OPAQUE.init(w), w, grad_fn=identity, value=1.0)
    plateau = optax.chain(OURS, optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    state = plateau.init(w)
    for value in (1.0, 2.0):
        _, state = plateau.update(w, state, w, grad_fn=identity, value=value)
    assert float(optax.tree.get(state, "scale")) == 0.5


@pytest.mark.slow
@as_measured
def test_the_radius_in_half_precision_is_right_here_alone():
    grads = [jnp.ones(2**12, jnp.bfloat16)] * 400
    length = lambda tree: np.sqrt(sum(np.sum(np.float64(e) ** 2) for e in tree))
    there = ADVERSARY.update(grads, ADVERSARY.init(grads))[0]
    tx = saner_jax.scale_to_radius(0.1)
    assert length(tx.update(grads, tx.init(grads))[0]) == pytest.approx(0.1, rel=5e-3)
    assert length(there) > 1.1 * 0.1


@as_measured
@pytest.mark.usefixtures("standard_promotion")
def test_a_period_of_one_in_the_transparent_mode_is_not_the_base():
    tx = optax.contrib.sam(optax.sgd(0.1), ADVERSARY, sync_period=1)
    w = plain = jnp.ones(2)
    state = tx.init(w)
    for _ in range(3):
        updates, state = tx.update(w, state, w)
        w, plain = w + updates, 0.9 * plain
    assert not np.allclose(w, plain, rtol=0.01)
