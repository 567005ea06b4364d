"""Every robust objective follows a plain NumPy loop over twenty steps, under SGD and SANER."""

import jax
import jax.numpy as jnp
import numpy as np
import objective_loops as loops
import optax
import pytest

import saner_jax
from saner_jax import objectives as ob
from saner_jax.training import init_networks, make_train_step, revised

C, D, N, B, SPE, EPOCHS = 4, 5, 48, 16, 3, 7
FORGET = ob.forget_rate(0.3, num_steps=4)
METHODS = {
    "plain": (loops.Plain, ob.make_objective()),
    "gce": (loops.Gce, ob.gce()),
    "sce": (loops.Sce, ob.sce()),
    "nce_rce": (loops.NceRce, ob.nce_rce()),
    "label_smoothing": (loops.Smoothing, ob.label_smoothing(0.2)),
    "bootstrapping": (loops.Bootstrapping, ob.bootstrapping()),
    "soft bootstrapping": (loops.SoftBootstrapping, ob.bootstrapping(0.9, hard=False)),
    "forward_correction": (
        loops.Forward,
        ob.forward_correction(0.7 * np.eye(C) + 0.3 / C),
    ),
    "elr": (loops.Elr, ob.elr()),
    "selc": (loops.Selc, ob.selc(2)),
    "plc": (loops.Plc, ob.plc(2, SPE, delta=0.9, window=2)),
    "joint_optimization": (loops.Joint, ob.joint_optimization(2, SPE, window=3)),
    "clean_weights": (loops.CleanWeights, ob.clean_weights(2)),
    "dynamic_bootstrapping": (loops.DynamicBootstrapping, ob.dynamic_bootstrapping(2)),
    "small_loss_selection": (loops.SmallLosses, ob.small_loss_selection(FORGET)),
    "co_teaching": (loops.CoTeaching, ob.co_teaching(FORGET)),
    "jocor": (loops.Jocor, ob.jocor(FORGET, 0.5)),
    "dividemix": (loops.DivideMix, ob.dividemix(2, ramp_steps=3)._replace(mix=None)),
}


def test_every_objective_has_a_loop():
    assert ob.OBJECTIVES.keys() <= METHODS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.2], ids=["sgd", "saner"])
@pytest.mark.parametrize("name", METHODS)
def test_it_follows_a_plain_loop(name, rho):
    kind, objective = METHODS[name]
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(N, D))
    labels = rng.integers(0, C, N)
    start = [rng.normal(size=(D, C)) for _ in range(objective.num_networks)]
    orders = [rng.permutation(N).reshape(SPE, B) for _ in range(EPOCHS)]
    expected = loops.train(kind, inputs, labels, start, orders, rate=0.3, rho=rho, alpha=0.6)
    with jax.enable_x64(True):
        base = optax.sgd(0.3)
        tx = optax.chain(saner_jax.saner(rho, 0.6), base) if rho else base
        forward = lambda w, kept, x, train: (x @ w, kept)
        step = jax.jit(make_train_step(forward, objective, tx))
        at = iter(start)
        state = init_networks(
            lambda seed: (jnp.asarray(next(at)), {}), tx, objective, labels, C, seed=0
        )
        done = 0
        for order in orders:
            for rows in order:
                chosen = jnp.asarray(rows, jnp.int32)
                batch = jnp.asarray(inputs)[chosen], jnp.asarray(labels)[chosen], chosen
                state, _ = step(state, *batch)
                params = state.params if objective.num_networks == 2 else (state.params,)
                for ours, theirs in zip(params, expected[done], strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
                done += 1
            state = revised(state, objective)
    assert done >= 20
