"""Methods of 2025 and 2026 as sentences of the library's parts, against plain NumPy loops.

Each method is written as a user would write it, by the rule of its authors' code where that is
public: LE-SAM (arXiv 2605.10183, smithgun2005/LE-SAM-ICML2026 @4ad1c9c, without the 1e-12 under the
root), LightSAM II (dimitris-oik/sam_sps @82d83c0), GCSAM (arXiv 2501.11584), Focal-SAM (scongl
@86c13c6), X-SAM (arXiv 2601.10251, huang5467/X-SAM @f69c21b), SAM-Polyak (arXiv 2606.01827,
sam_sps), SASSHA (arXiv 2502.18153, LOG-postech/Sassha @75e2de4, with the Hessian wholly at the
perturbed parameters), SAMPa (arXiv 2410.10683, LIONS-EPFL/SAMPa @01093ef, without momentum and
decay) and bSAM (arXiv 2210.01620, team-approx-bayes/bayesian-sam @936eec1).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import saner_jax
from saner_jax import (
    perturbed_params,
    scale_to_radius,
    sharpness_aware,
    value_and_update,
)
from saner_jax.parts import global_dot, global_norm, of_direction, safe_ratio

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4))
HESSIAN = A @ A.T / 4 + np.eye(4)
CUBIC = RNG.normal(size=4)
START = RNG.normal(size=4)
WEIGHTS = RNG.uniform(0.2, 0.8, size=4)
STEPS, LEARNING_RATE = 8, 0.05
TOLERANCE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def loss(w):
    return w @ jnp.asarray(HESSIAN) @ w / 2 + jnp.sum(jnp.asarray(CUBIC) * w**3) / 6 + 3.0


def np_loss(w):
    return w @ HESSIAN @ w / 2 + np.sum(CUBIC * w**3) / 6 + 3.0


def np_grad(w):
    return HESSIAN @ w + CUBIC * w**2 / 2


def np_hessian(w):
    return HESSIAN + np.diag(CUBIC * w)


grad_fn = jax.grad(loss)


def unit(x):
    return x / np.linalg.norm(x)


def walk(tx, **extra):
    """Return the parameters after every step of a chain."""
    w, path = jnp.asarray(START), []
    state = tx.init(w)
    for _ in range(STEPS):
        done = value_and_update(tx, loss, w, state, **extra)
        w, state = optax.apply_updates(w, done.updates), done.state
        path.append(np.asarray(w))
    return np.array(path)


def np_walk(step):
    """Return the parameters after every step of a NumPy rule, which keeps its own memory."""
    w, path = START.copy(), []
    for number in range(STEPS):
        w = step(w, number)
        path.append(w.copy())
    return np.array(path)


def descend(sharp):
    return optax.chain(sharp, optax.sgd(LEARNING_RATE))


# --- LE-SAM: the radius that raises the linearized loss by sigma ----------------------------------


def le_sam(sigma, largest_radius):
    radius = lambda g, count: jnp.minimum(sigma(count) / global_norm(g), largest_radius)
    return sharpness_aware(scale_to_radius(of_direction(radius)))


@pytest.mark.slow
def test_le_sam():
    sigma = lambda count: 0.35 * (1 - count / 20)

    def step(w, number):
        g = np_grad(w)
        radius = min(sigma(number) / np.linalg.norm(g), 0.2)
        return w - LEARNING_RATE * np_grad(w + radius * unit(g))

    tx = descend(le_sam(lambda count: 0.35 * (1 - jnp.asarray(count, jnp.float64) / 20), 0.2))
    np.testing.assert_allclose(walk(tx), np_walk(step), **TOLERANCE)


# --- LightSAM: AdaGrad scales the ascent and the descent ------------------------------------------


def test_light_sam():
    rss = lambda: optax.scale_by_rss(initial_accumulator_value=1e-16, eps=0.0)
    tx = optax.chain(
        sharpness_aware(optax.chain(rss(), optax.scale(0.1))), rss(), optax.scale(-LEARNING_RATE)
    )
    sums = {"ascent": np.full(4, 1e-16), "descent": np.full(4, 1e-16)}

    def scaled(which, g):
        sums[which] += g**2
        return g / np.sqrt(sums[which])

    def step(w, number):
        del number
        gs = np_grad(w + 0.1 * scaled("ascent", np_grad(w)))
        return w - LEARNING_RATE * scaled("descent", gs)

    np.testing.assert_allclose(walk(tx), np_walk(step), **TOLERANCE)


# --- GCSAM: the gradient is centered over all axes but the output one, after its norm -------------


def center(g):
    return g - jnp.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True) if g.ndim > 1 else g


def test_gc_sam():
    centered = optax.stateless_with_tree_map(lambda e, _: center(e))
    tx = descend(sharpness_aware(optax.chain(scale_to_radius(0.1), centered)))
    kernel = RNG.normal(size=(3, 2))
    slope = lambda w: w + 0.3 * w**2
    w = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(START[:2])}
    state = tx.init(w)
    updates, _ = tx.update(
        jax.tree.map(slope, w), state, w, grad_fn=lambda p: jax.tree.map(slope, p)
    )
    g = {"kernel": slope(kernel), "bias": slope(START[:2])}
    norm = np.sqrt(sum((x**2).sum() for x in g.values()))
    e = {"kernel": g["kernel"] - g["kernel"].mean(0), "bias": g["bias"]}
    for name, start in (("kernel", kernel), ("bias", START[:2])):
        wanted = -LEARNING_RATE * slope(start + 0.1 * e[name] / norm)
        np.testing.assert_allclose(updates[name], wanted, **TOLERANCE)


# --- Focal-SAM: the ascent sees the class-weighted loss, the descent the other part at w ----------


def test_focal_sam():
    # The weighted loss is mean(c l), here the loss in rotated coordinates; the rest is the other.
    focal, rest = (lambda w: loss(jnp.asarray(WEIGHTS) * w)), (lambda w: jnp.sum(w**4) / 9)
    tx = descend(saner_jax.sam(0.1))
    w, path = jnp.asarray(START), []
    state = tx.init(w)
    for _ in range(STEPS):
        others = jax.grad(rest)(w)
        updates, state = tx.update(
            jax.grad(focal)(w), state, w, grad_fn=lambda at, g=others: jax.grad(focal)(at) + g
        )
        w = optax.apply_updates(w, updates)
        path.append(np.asarray(w))

    def step(w, number):
        del number
        focal_grad = lambda w: WEIGHTS * np_grad(WEIGHTS * w)
        kept = 4 * w**3 / 9 + focal_grad(w + 0.1 * unit(focal_grad(w)))
        return w - LEARNING_RATE * kept

    np.testing.assert_allclose(path, np_walk(step), **TOLERANCE)


# --- X-SAM: project the normalized gradient off the top eigenvector -------------------------------


def x_sam(alpha, every, iterations):
    """Turn the perturbed gradient away from the direction of largest curvature."""

    def init(params):
        return jnp.zeros((), jnp.int32), jnp.zeros_like(params)

    def update(updates, state, params, *, grad_fn, **_):
        count, v = state
        # Their code keeps the raw gradient before the first eigenvector is there.
        start = jnp.where(count == 0, jnp.ones_like(params), v)
        product = lambda _, v: jax.jvp(grad_fn, (params,), (v / global_norm(v),))[1]
        new = jax.lax.fori_loop(0, iterations, product, start)
        v = jnp.where(count % every == 0, new / global_norm(new), v)
        turned = updates / global_norm(updates)
        along = global_dot(turned, v)
        return turned - alpha * jnp.sign(along) * along * v, (count + 1, v)

    return optax.GradientTransformationExtraArgs(init, update)


def test_x_sam():
    tx = descend(sharpness_aware(scale_to_radius(0.05), x_sam(0.2, every=3, iterations=5)))
    memory = {"v": np.ones(4)}

    def step(w, number):
        if number % 3 == 0:
            v = memory["v"]
            for _ in range(5):
                v = np_hessian(w) @ unit(v)
            memory["v"] = unit(v)
        v, turned = memory["v"], unit(np_grad(w + 0.05 * unit(np_grad(w))))
        along = turned @ v
        return w - LEARNING_RATE * (turned - 0.2 * np.sign(along) * along * v)

    np.testing.assert_allclose(walk(tx), np_walk(step), **TOLERANCE)


# --- SAM-Polyak: the step size from the loss at the perturbed parameters --------------------------


def polyak_step(largest, lowest_loss, decay):
    """Scale the perturbed gradient by Polyak's step for the linearized loss; no base follows."""

    def update(updates, state, params, *, perturbation, perturbed_value, **_):
        excess = perturbed_value - lowest_loss - global_dot(updates, perturbation)
        step = jnp.clip(safe_ratio(excess, global_norm(updates) ** 2), 0.0, largest)
        return jax.tree.map(lambda g, w: -step * (g + decay * w), updates, params), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_sam_polyak():
    tx = sharpness_aware(scale_to_radius(0.1), polyak_step(0.2, 2.9, 5e-3))

    def step(w, number):
        del number
        e = 0.1 * unit(np_grad(w))
        gs = np_grad(w + e)
        size = np.clip((np_loss(w + e) - 2.9 - gs @ e) / (gs @ gs), 0, 0.2)
        return w - size * (gs + 5e-3 * w)

    np.testing.assert_allclose(walk(tx), np_walk(step), **TOLERANCE)
    assert not np.allclose(walk(tx)[0] - START, -0.2 * np_grad(START), rtol=0.1)


# --- SASSHA: the diagonal of the Hessian at the perturbed parameters preconditions ----------------


def sassha(every, decays=(0.9, 0.999), eps=1e-4):
    """Divide the average of the perturbed gradients by the root of the average curvature."""

    def init(params):
        return jnp.zeros((), jnp.int32), jnp.zeros_like(params), jnp.zeros_like(params)

    def update(updates, state, params, *, grad_fn, perturbation, probe, **_):
        count, m, h = state
        at = params + perturbation
        curvature = jnp.abs(probe * jax.jvp(grad_fn, (at,), (probe,))[1])
        is_due = count % every == 0
        m = decays[0] * m + (1 - decays[0]) * updates
        h = jnp.where(is_due, decays[1] * h + (1 - decays[1]) * curvature, h)
        steps = (count + 1).astype(m.dtype)
        root = jnp.sqrt(h) / jnp.sqrt(1 - decays[1] ** steps)
        return m / (1 - decays[0] ** steps) / (root + eps), (count + 1, m, h)

    return optax.GradientTransformationExtraArgs(init, update)


def test_sassha():
    probe = np.array([1.0, -1.0, -1.0, 1.0])
    sharp = sharpness_aware(scale_to_radius(0.2), sassha(every=3))
    tx = optax.chain(sharp, optax.add_decayed_weights(1e-2), optax.scale(-LEARNING_RATE))
    m, h = np.zeros(4), np.zeros(4)

    def step(w, number):
        nonlocal m, h
        at = w + 0.2 * unit(np_grad(w))
        m = 0.9 * m + 0.1 * np_grad(at)
        if number % 3 == 0:
            h = 0.999 * h + 0.001 * np.abs(probe * (np_hessian(at) @ probe))
        root = np.sqrt(h) / np.sqrt(1 - 0.999 ** (number + 1))
        kept = m / (1 - 0.9 ** (number + 1)) / (root + 1e-4)
        return w * (1 - LEARNING_RATE * 1e-2) - LEARNING_RATE * kept

    np.testing.assert_allclose(walk(tx, probe=jnp.asarray(probe)), np_walk(step), **TOLERANCE)


# --- SAMPa: both gradients of a step at once, at an auxiliary iterate and at the perturbed point --


def test_sampa():
    share, shifts = 0.2, RNG.normal(size=(STEPS + 1, 4)) * 0.1  # one batch for each step
    batch_grad = lambda w, batch: grad_fn(w - batch)
    tx, base = saner_jax.sam(0.1), optax.sgd(LEARNING_RATE)
    w = jnp.asarray(START)
    state, base_state = tx.init(w), base.init(w)
    y_grads, path = batch_grad(w, jnp.asarray(shifts[0])), []
    for number in range(STEPS):
        before, batch = jnp.asarray(shifts[number]), jnp.asarray(shifts[number + 1])
        # The two gradients do not depend on each other.
        perturbed = perturbed_params(tx, y_grads, state, w)
        y = optax.apply_updates(w, base.update(y_grads, base_state, w)[0])
        first, y_grads = batch_grad(perturbed, before), batch_grad(y, batch)
        mixed = (1 - share) * first + share * y_grads
        updates, base_state = base.update(mixed, base_state, w)
        w = optax.apply_updates(w, updates)
        path.append(np.asarray(w))

    w, wanted = START.copy(), []
    y_grad = np_grad(w - shifts[0])
    for number in range(STEPS):
        first = np_grad(w + 0.1 * unit(y_grad) - shifts[number])
        y_grad = np_grad(w - LEARNING_RATE * y_grad - shifts[number + 1])
        w = w - LEARNING_RATE * ((1 - share) * first + share * y_grad)
        wanted.append(w.copy())
    np.testing.assert_allclose(path, wanted, **TOLERANCE)


# --- bSAM: the ascent divides by the precision that the base keeps --------------------------------


def by_precision(rho):
    """Perturb by the gradient over the precision of the posterior."""

    def update(updates, state, params=None, *, precision, **_):
        del params
        return jax.tree.map(lambda g, s: rho * g / s, updates, precision), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_bsam():
    rho, decay, damping, beta1, beta2 = 0.01, 0.1, 0.1, 0.9, 0.99
    noise = RNG.normal(size=(STEPS, 4))
    tx = sharpness_aware(by_precision(rho))
    w, s, m, path = jnp.asarray(START), jnp.ones(4), jnp.zeros(4), []
    state = tx.init(w)
    for number in range(STEPS):
        g = grad_fn(w + jnp.asarray(noise[number]) / jnp.sqrt(50 * s))
        gs, state = tx.update(g, state, w, grad_fn=grad_fn, precision=s)
        m = beta1 * m + (1 - beta1) * (gs + decay * w)
        w, s = (
            w - LEARNING_RATE * m / s,
            beta2 * s + (1 - beta2) * (jnp.sqrt(s) * jnp.abs(g) + decay + damping),
        )
        path.append(np.asarray(w))

    w, s, m, wanted = START.copy(), np.ones(4), np.zeros(4), []
    for number in range(STEPS):
        g = np_grad(w + noise[number] / np.sqrt(50 * s))
        m = beta1 * m + (1 - beta1) * (np_grad(w + rho * g / s) + decay * w)
        w = w - LEARNING_RATE * m / s
        s = beta2 * s + (1 - beta2) * (np.sqrt(s) * np.abs(g) + decay + damping)
        wanted.append(w.copy())
    np.testing.assert_allclose(path, wanted, **TOLERANCE)


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tx", "extra"),
    [
        (sharpness_aware(scale_to_radius(0.05), x_sam(0.2, 3, 5)), {}),
        (sharpness_aware(scale_to_radius(0.2), sassha(2)), {"probe": np.ones(4)}),
        (le_sam(lambda count: 0.3, 0.2), {}),
    ],
    ids=["X-SAM", "SASSHA", "LE-SAM"],
)
def test_two_phases_are_the_single_call_bitwise(tx, extra):
    w = jnp.asarray(START)
    state, grads = tx.init(w), grad_fn(w)
    one = tx.update(grads, state, w, grad_fn=grad_fn, **extra)
    at = perturbed_params(tx, grads, state, w, grad_fn=grad_fn, **extra)
    two = tx.update(grads, state, w, grad_fn=grad_fn, perturbed_grads=grad_fn(at), **extra)
    jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("name", ["rho", "alpha", "kappa"])
def test_a_strength_that_depends_on_the_direction_is_its_value(name):
    value = of_direction(lambda g, count: 0.5 * global_norm(g) / global_norm(g) + 0 * count)
    build = {
        "rho": scale_to_radius,
        "alpha": saner_jax.damp_shrunk,
        "kappa": saner_jax.extrapolate,
    }[name]
    g, origin = jnp.asarray(START), jnp.asarray(2 * START)
    outs = []
    for strength in (value, 0.5):
        tx = build(strength)
        extra = {} if name == "rho" else {"origin_grads": origin}
        outs.append(tx.update(g, tx.init(g), g, **extra)[0])
    np.testing.assert_allclose(outs[0], outs[1], **TOLERANCE)


def test_other_strengths_may_not_depend_on_the_direction():
    tx = saner_jax.vasso(0.1, theta=of_direction(lambda g, count: 0.5))
    w = jnp.asarray(START)
    with pytest.raises(TypeError, match="only the main strength of a part may depend"):
        tx.update(w, tx.init(w), w, grad_fn=grad_fn)
    with pytest.raises(TypeError, match="of_direction: function must take"):
        of_direction(0.5)
