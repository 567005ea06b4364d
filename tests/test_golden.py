"""Our recipes walk the paths that the authors' PyTorch classes walked; see golden/README.md."""

import functools
import json
import pathlib
from types import SimpleNamespace

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

import saner_jax

# file -> (dtype of the whole run, largest error relative to the largest value of the quantity).
# float64: their norms have 1e-12 added, ours not, which shows at 1e-11. float32: e_w is recovered
# as (w + e) - w, and rounding w costs some 1e-6 of e.
FILES = {
    "p1": ("float64", 1e-10),
    "p1_f32": ("float32", 2e-5),
    "p2": ("float64", 1e-10),
    "p4": ("float64", 1e-10),
}
# Twelve small steps take less time than optimizing their programs.
QUICKLY = {"xla_backend_optimization_level": 0}
QUANTITIES = ("params", "g1", "e_w", "g2", "dir")


@functools.cache
def read(name):
    """Return one golden file: its arrays, header, runs by name and the offsets of its leaves."""
    with np.load(pathlib.Path(__file__).parent / "golden" / f"{name}.npz") as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header_json"]))
    runs = json.loads(str(arrays["runs_json"]))
    sizes = [arrays[f"init_{leaf}"].size for leaf in header["leaf_names"]]
    return SimpleNamespace(
        arrays=arrays,
        header=header,
        runs={run["name"]: run | {"index": i} for i, run in enumerate(runs)},
        leaf_starts=np.cumsum([0, *sizes[:-1]]),
        start={leaf: arrays[f"init_{leaf}"] for leaf in header["leaf_names"]},
    )


def all_runs(files):
    # Minibatches add little to a quick run.
    marks = {"p2": [pytest.mark.slow]}
    return [
        pytest.param(file, run, marks=marks.get(file, []))
        for file in files
        for run in read(file).runs
    ]


@functools.cache
def gradient_fn(file):
    """Return a function of (params, step from 0): the gradient on the batch of that step."""
    arrays, header = read(file).arrays, read(file).header
    if header["kind"] == "quadratic":
        a, b = arrays["data_A"], arrays["data_b"]
        return jax.jit(lambda params, step: {"w": jnp.asarray(a) @ params["w"] - jnp.asarray(b)})

    def mean_loss(params, x, y):
        h = jnp.tanh(x @ params["W1"] + params["b1"][None])
        h = jnp.tanh(h @ params["W2"] + params["b2"][None])
        logits = h @ params["W3"] + params["b3"][None]
        chosen = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)

    size = header["batch_size"] or len(arrays["data_y"])
    batches = [slice(size * i, size * (i + 1)) for i in range(header["num_batches"])]
    grad = jax.jit(jax.grad(mean_loss), compiler_options=QUICKLY)

    def on_batch(params, step):
        rows = batches[step % len(batches)]
        return grad(params, arrays["data_X"][rows], arrays["data_y"][rows])

    return on_batch


def name_and_alpha(optimizer):
    """Translate a name of theirs, such as ``saner_a0.5``, into ours and the paper's alpha."""
    name, _, alpha = optimizer.partition("_a")
    alpha = float(alpha or 0)
    return name, 1 - alpha if name == "saner" else alpha  # their alpha is what REMAINS of g2


def strengths(name, alpha):
    if name == "asam":
        return {"eta": 0.0, "scaled": "all"}
    return {"alpha": alpha} if name in ("saner", "gsam") else {}


@functools.cache
def compiled(name):
    """Return ``init``, ``perturb`` and ``update`` for all runs of ``name``, settings as arguments.

    The gradients are arguments too, and ``update`` returns where it asked for the second one.
    """

    def build(rho, alpha, momentum, weight_decay, lr):
        # A number would be a constant of the program; a schedule may return an argument of it.
        recipe = saner_jax.RECIPES[name](lambda count: rho, **strengths(name, lambda count: alpha))
        decay = optax.add_decayed_weights(weight_decay)
        return recipe, optax.chain(recipe, decay, optax.trace(decay=momentum), optax.scale(-lr))

    def init(params, settings):
        return build(**settings)[1].init(params)

    def perturb(g1, state, params, settings):
        return saner_jax.perturbed_params(build(**settings)[1], g1, state, params)

    def update(g1, g2, state, params, settings):
        asked = []
        grad_fn = lambda at: asked.append(at) or g2
        updates, state = build(**settings)[1].update(g1, state, params, grad_fn=grad_fn)
        (asked_at,) = asked  # a step costs one gradient beyond the one it was given
        shrunk = jax.tree.map(saner_jax.is_shrunk, g1, g2)
        return optax.apply_updates(params, updates), state, asked_at, shrunk

    return [jax.jit(f, compiler_options=QUICKLY) for f in (init, perturb, update)]


def our_run(file, run):
    """Return what we compute at every step: quantity -> (steps, n), and the shrunk coordinates."""
    golden, dtype = read(file), FILES[file][0]
    name, alpha = name_and_alpha(golden.runs[run]["optimizer"])
    flat = lambda tree: np.concatenate([np.ravel(tree[leaf]) for leaf in golden.start])

    history = []
    with jax.enable_x64(dtype == "float64"):
        settings = {"alpha": jnp.asarray(alpha, dtype)}
        for key in ("rho", "momentum", "weight_decay", "lr"):
            settings[key] = jnp.asarray(golden.runs[run][key], dtype)
        init, perturb, update = compiled(name)
        params = jax.tree.map(jnp.asarray, golden.start)
        state = init(params, settings)
        for i in range(golden.header["steps"]):
            g1 = gradient_fn(file)(params, i)
            perturbed = perturb(g1, state, params, settings)
            g2 = gradient_fn(file)(perturbed, i)
            e_w = flat(perturbed) - flat(params)
            params, state, asked_at, shrunk = update(g1, g2, state, params, settings)
            assert error(flat(asked_at), flat(perturbed)) < FILES[file][1]
            history.append(
                [*map(flat, (params, g1)), e_w, *map(flat, (g2, state[2].trace, shrunk))]
            )

    *seen, shrunk = map(np.stack, zip(*history, strict=True))
    assert all(array.dtype == dtype for array in seen)
    return dict(zip(QUANTITIES, seen, strict=True)), shrunk


def error(ours, truth):
    return np.max(np.abs(ours - truth)) / np.max(np.abs(truth))


@pytest.mark.slow
@pytest.mark.parametrize(("file", "run"), all_runs(FILES))
def test_recipe_walks_the_golden_path(file, run):
    golden, (ours, shrunk) = read(file), our_run(file, run)
    arrays, index, tolerance = golden.arrays, golden.runs[run]["index"], FILES[file][1]

    compared = set()
    for quantity in QUANTITIES:
        if f"proj_{quantity}" in arrays:
            weighted = arrays["proj_vector"] * ours[quantity].astype(np.float64)
            projected = np.add.reduceat(weighted, golden.leaf_starts, axis=1)
            assert error(projected, arrays[f"proj_{quantity}"][index]) < tolerance, quantity
            compared.add(quantity)
        if f"full_{quantity}" in arrays:
            rows = np.flatnonzero(arrays[f"full_{quantity}_run"] == index)
            for row in rows:
                mine = ours[quantity][arrays[f"full_{quantity}_step"][row] - 1]
                assert error(mine, arrays[f"full_{quantity}"][row]) < tolerance, quantity
            if len(rows) == golden.header["steps"]:
                compared.add(quantity)
    assert compared == set(QUANTITIES), "a quantity was not compared at every step"

    # In float32 a coordinate may be closer to a threshold than rounding; see ratio_margin.
    if FILES[file][0] == "float64":
        recorded = np.unpackbits(arrays["maskB_bits"][index], axis=1, count=shrunk.shape[1])
        np.testing.assert_array_equal(shrunk, recorded.astype(bool))
        np.testing.assert_array_equal(shrunk.sum(axis=1), arrays["counts_ABC"][index][:, 1])


@pytest.mark.parametrize("run", read("p4").runs)
def test_oracle_walks_the_golden_path(run):
    golden = read("p4")
    settings = golden.runs[run]
    name, alpha = name_and_alpha(settings["optimizer"])
    path = oracles.run(
        name,
        lambda w, step: golden.arrays["data_A"] @ w - golden.arrays["data_b"],
        golden.start["w"],
        golden.header["steps"],
        learning_rate=settings["lr"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        rho=settings["rho"],
        **strengths(name, alpha),
    )
    rows = golden.arrays["full_params_run"] == settings["index"]
    assert error(np.stack(path), golden.arrays["full_params"][rows]) < 1e-12


def test_one_saner_step_on_the_quadratic_can_be_checked_by_hand():
    """Follow the first step of p4's ``saner_a0.5__rho05``, printed to ten decimals."""
    w = np.array([0.8125, -1.1875, 0.125, -1.3125, 1.125, 0.75])
    g1 = [0.0458984375, 0.8007812500, 0.8154296875, 0.5078125000, 0.5517578125, 1.0371093750]
    e_w = [0.0133701909, 0.2332671609, 0.2375342431, 0.1479255167, 0.1607267633, 0.3021094206]
    g2 = [-0.0400432652, 1.2387972391, 0.7971256828, 0.3465612412, 0.7760196520, 1.3462550364]
    halved = [-0.0400432652, 1.2387972391, 0.3985628413, 0.1732806206, 0.7760196520, 1.3462550364]
    after = [0.8164637015, -1.3113203489, 0.0851374659, -1.3297624371, 1.0473417848, 0.6153369964]
    agree = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)

    with jax.enable_x64(True):
        recipe = saner_jax.saner(0.5, alpha=0.5)
        grad_fn = lambda params: gradient_fn("p4")(params, 0)
        params = {"w": jnp.asarray(w)}
        state = recipe.init(params)
        origin = grad_fn(params)
        agree(origin["w"], g1)

        # Half a unit of length along g1.
        perturbed = saner_jax.perturbed_params(recipe, origin, state, params)
        agree(perturbed["w"] - w, e_w)
        agree(np.linalg.norm(e_w), 0.5)

        # The first coordinate turns around, the third and fourth shrink, the others grow.
        agree(grad_fn(perturbed)["w"], g2)
        shrunk = saner_jax.is_shrunk(origin["w"], grad_fn(perturbed)["w"])
        assert shrunk.tolist() == [False, False, True, True, False, False]

        # The two that shrink are halved. Weight decay joins only then, and the first momentum
        # buffer is the sum of both.
        updates, _ = recipe.update(origin, state, params, grad_fn=grad_fn)
        agree(updates["w"], halved)
        agree(w - 0.1 * (updates["w"] + 5e-4 * w), after)
