"""What holds of every objective: one step, its limits, and the ways in which some are others."""

import ast
import functools
import inspect
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import saner_jax
from saner_jax import objectives as ob
from saner_jax.models import MLP, forward_of
from saner_jax.objectives import Objective
from saner_jax.training import init_networks, make_train_step, mean_prediction, revised

C, N, B, SPE = 4, 48, 16, 3
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(N, 6)).astype(np.float32))
TRUTH = np.asarray(RNG.integers(0, C, N), np.int32)
LABELS = np.where(RNG.random(N) < 0.3, RNG.integers(0, C, N), TRUTH).astype(np.int32)
MODEL = MLP(C, (8,))
FORGET = ob.forget_rate(0.3, num_steps=4)
T = 0.7 * np.eye(C) + 0.3 / C
OBJECTIVES = {
    "plain": ob.from_loss(ob.cross_entropy),
    "parts": ob.make_objective(),
    "gce": ob.gce(),
    "sce": ob.sce(),
    "nce_rce": ob.nce_rce(),
    "label_smoothing": ob.label_smoothing(0.2),
    "bootstrapping": ob.bootstrapping(),
    "soft bootstrapping": ob.bootstrapping(0.9, hard=False),
    "forward_correction": ob.forward_correction(T),
    "elr": ob.elr(),
    "selc": ob.selc(2),
    "plc": ob.plc(2, SPE, delta=0.9, window=2),
    "joint_optimization": ob.joint_optimization(2, SPE, window=3),
    "clean_weights": ob.clean_weights(2),
    "dynamic_bootstrapping": ob.dynamic_bootstrapping(2),
    "small_loss_selection": ob.small_loss_selection(FORGET),
    "co_teaching": ob.co_teaching(FORGET),
    "jocor": ob.jocor(FORGET, 0.5),
    "dividemix": ob.dividemix(2, ramp_steps=3),
    "elr of a pair": ob.elr()._replace(num_networks=2),
    "mixup": ob.mixup(ob.make_objective(), 2.0),
    "mixup of soft bootstrapping": ob.mixup(ob.bootstrapping(0.9, hard=False), 2.0),
    "mixup of elr": ob.mixup(ob.elr(), 2.0),
    "fixed_targets": ob.fixed_targets(RNG.dirichlet(np.ones(C), N)),
}
BASE = optax.sgd(0.2, momentum=0.9)
TXS = {
    "sgd": BASE,
    "sam": optax.chain(saner_jax.sam(0.1), BASE),
    "saner": optax.chain(saner_jax.saner(0.1, 0.7), BASE),
}


def test_the_table_holds_every_objective():
    assert ob.OBJECTIVES.keys() <= OBJECTIVES.keys()


def variables(seed):
    return MODEL.init(jax.random.key(np.uint32(seed)), INPUTS[:1])["params"], {}


@functools.cache
def jitted(name, tx_name):
    return jax.jit(make_train_step(forward_of(MODEL), OBJECTIVES[name], TXS[tx_name]))


def trained(objective, tx, *, num_steps=8, labels=LABELS, step=None, start=None):
    """Return every state and record of some steps, over whole epochs with their revisions."""
    step = step or jax.jit(make_train_step(forward_of(MODEL), objective, tx))
    as_objective = objective if isinstance(objective, Objective) else None
    state = start or init_networks(variables, tx, as_objective, labels, C, seed=0)
    states, records = [state], []
    order = np.random.default_rng(1)
    for number in range(num_steps):
        if number % SPE == 0:
            rows = order.permutation(N).astype(np.int32).reshape(SPE, B)
        chosen = jnp.asarray(rows[number % SPE])
        batch = (INPUTS[chosen], jnp.asarray(labels)[chosen], chosen, jnp.asarray(TRUTH)[chosen])
        state, record = step(state, *batch)
        if number % SPE == SPE - 1:
            state = revised(state, as_objective)
        states.append(state)
        records.append(record)
    return states, records


def of(name, tx_name, **more):
    return trained(OBJECTIVES[name], TXS[tx_name], step=jitted(name, tx_name), **more)


def assert_same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def assert_bitwise(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("tx_name", TXS)
def test_all_is_finite_and_the_loss_is_told(name, tx_name):
    states, records = of(name, tx_name)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states))
    assert all(np.isfinite(record.loss) for record in records)
    if name != "plain":
        assert all(0 < float(record.supervision.mean_weight) <= 1 + 1e-6 for record in records)
        assert all(0 <= float(record.supervision.right_targets) <= 1 for record in records)


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla_optimizations")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_a_radius_every_step_is_that_of_the_base(name):
    objective = OBJECTIVES[name]
    without = optax.chain(saner_jax.saner(0.0, 0.7), BASE)
    ours, base = (trained(objective, tx)[0][-1].params for tx in (without, BASE))
    assert_bitwise(ours, base)


def count_second_passes(objective, tx):
    """Return the supervision that each pass of one step saw, and how often it was made."""
    made, seen = [], []

    def supervise(*arguments):
        made.append(1)
        return objective.supervise(*arguments)

    def loss(logits, told):
        seen.append(1)
        return objective.loss(logits, told)

    watched = objective._replace(supervise=supervise, loss=loss)
    trained(watched, tx, num_steps=1)
    return len(made), len(seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_supervision_is_made_once_a_step_and_differentiated_in_both_passes(name):
    nets = OBJECTIVES[name].num_networks
    assert count_second_passes(OBJECTIVES[name], TXS["saner"]) == (nets, 2 * nets)
    assert count_second_passes(OBJECTIVES[name], TXS["sgd"]) == (nets, nets)


@pytest.mark.parametrize("name", [name for name, one in OBJECTIVES.items() if one.has_memory])
def test_rows_of_other_examples_are_untouched(name):
    tx = TXS["saner"]
    step = jitted(name, "saner")
    state = init_networks(variables, tx, OBJECTIVES[name], LABELS, C, seed=0)
    chosen = jnp.arange(B, dtype=jnp.int32) * 2
    after, _ = step(state, INPUTS[chosen], jnp.asarray(LABELS)[chosen], chosen)
    others = np.setdiff1d(np.arange(N), np.asarray(chosen))
    pick = lambda memory: jax.tree.map(lambda leaf: np.asarray(leaf)[others], memory.rows)
    is_memory = lambda node: isinstance(node, ob.Memory)
    for one, other in zip(
        jax.tree.leaves(state.memory, is_leaf=is_memory),
        jax.tree.leaves(after.memory, is_leaf=is_memory),
        strict=True,
    ):
        assert_bitwise(pick(one), pick(other))


@pytest.mark.parametrize("tx_name", TXS)
def test_labels_as_given_are_todays_step_bit_for_bit(tx_name):
    def loss(params, inputs, labels):
        logits = MODEL.apply({"params": params}, inputs)
        return jnp.mean(ob.cross_entropy(logits, labels))

    tx = TXS[tx_name]

    @jax.jit
    def by_hand(params, state, inputs, labels):
        grad_fn = lambda p: jax.grad(loss)(p, inputs, labels)
        extra = {} if tx_name == "sgd" else {"grad_fn": grad_fn}
        updates, state = tx.update(grad_fn(params), state, params, **extra)
        return optax.apply_updates(params, updates), state

    params = variables(0)[0]
    state, order = tx.init(params), np.random.default_rng(1)
    for number in range(5):
        if number % SPE == 0:
            rows = order.permutation(N).astype(np.int32).reshape(SPE, B)
        chosen = jnp.asarray(rows[number % SPE])
        params, state = by_hand(params, state, INPUTS[chosen], jnp.asarray(LABELS)[chosen])
    for name in ("plain", "parts"):
        ours = of(name, tx_name, num_steps=5)[0][-1].params
        assert_same(ours, params, rtol=2e-6, atol=1e-7)
    assert_bitwise(of("plain", tx_name, num_steps=5)[0][-1].params, params)


SAME = {
    "smoothing by nothing": (ob.label_smoothing(0.0), "parts"),
    "bootstrapping by nothing": (ob.bootstrapping(1.0), "parts"),
    "elr without strength": (ob.elr(strength=0.0), "parts"),
    "selc that keeps the label": (ob.selc(0, decay=1.0), "parts"),
    "selc before it begins": (ob.selc(100), "parts"),
    "plc before it begins": (ob.plc(100, SPE), "parts"),
    "joint optimization without penalties, before": (
        ob.joint_optimization(100, SPE, prior_strength=0.0, entropy_strength=0.0),
        "parts",
    ),
    "clean weights before they begin": (ob.clean_weights(100), "parts"),
    "dynamic bootstrapping before it begins": (ob.dynamic_bootstrapping(100), "parts"),
    "selection that forgets nothing": (ob.small_loss_selection(lambda step: 0.0), "parts"),
    "a matrix without noise": (ob.forward_correction(np.eye(C)), "parts"),
    "targets that are the labels": (ob.fixed_targets(np.eye(C)[LABELS]), "parts"),
    "parts of the costs": (ob.make_objective(ob.blend((1.0, ob.cross_entropies))), "parts"),
    "gce with a small q": (ob.gce(1e-6), "parts"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_one_is_another(name):
    objective, other = SAME[name]
    ours = trained(objective, TXS["saner"])[0][-1].params
    rough = {"rtol": 3e-3, "atol": 1e-4} if "small q" in name else {"rtol": 2e-5, "atol": 1e-6}
    assert_same(ours, of(other, "saner")[0][-1].params, **rough)


def test_a_pair_that_ignores_its_peer_is_two_runs():
    pair = OBJECTIVES["gce"]._replace(num_networks=2)
    both = trained(pair, TXS["saner"])[0]
    for number in range(2):
        start = init_networks(
            lambda _, number=number: (both[0].params[number], {}),
            TXS["saner"],
            None,
            LABELS,
            C,
            seed=0,
        )
        alone = trained(OBJECTIVES["gce"], TXS["saner"], start=start)[0][-1]
        assert_same(both[-1].params[number], alone.params, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_dividemix_without_mixing_begins_as_plain_training():
    begins = ob.dividemix(100)
    ours = trained(begins, TXS["sgd"])[0]
    start = init_networks(lambda _: (ours[0].params[0], {}), TXS["sgd"], None, LABELS, C, seed=0)
    alone = trained(OBJECTIVES["parts"], TXS["sgd"], start=start)[0][-1]
    assert_same(ours[-1].params[0], alone.params, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in OBJECTIVES if n not in ("forward_correction", "fixed_targets")]
)
def test_other_numbers_of_the_classes_permute_the_result(name):
    """Give the classes other numbers, and the last layer its columns in their order."""
    order = np.array([2, 0, 3, 1])
    inverse = np.argsort(order)
    tx, objective = TXS["saner"], OBJECTIVES[name]

    def permuted(seed):
        params, kept = variables(seed)
        last = jax.tree.map(lambda leaf: leaf[..., order], params["Dense_1"])
        return {**params, "Dense_1": last}, kept

    labels = inverse[LABELS].astype(np.int32)
    start = init_networks(permuted, tx, objective, labels, C, seed=0)
    theirs = trained(objective, tx, labels=labels, start=start)[0][-1]
    ours = of(name, "saner")[0][-1]
    split = lambda state: state.params if objective.num_networks == 2 else (state.params,)
    for one, other in zip(split(ours), split(theirs), strict=True):
        assert_same(
            one["Dense_1"]["kernel"][:, order], other["Dense_1"]["kernel"], rtol=2e-3, atol=2e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_passes_cost_two_gradients(name):
    """Count FLOPs: SAM takes twice SGD's, whatever is told; a pair twice one network's."""

    def flops(objective, tx):
        step = make_train_step(wide, objective, tx)
        state = init_networks(lambda seed: wide_variables(seed), tx, objective, LABELS, C, seed=0)
        rows = jnp.arange(N, dtype=jnp.int32)
        batch = (jnp.zeros((N, 256)), jnp.asarray(LABELS), rows)
        compiled = jax.jit(step).lower(state, *batch).compile()
        return compiled.cost_analysis()["flops"]

    model = MLP(C, (256, 256))
    wide = forward_of(model)

    def wide_variables(seed):
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256)))["params"]
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes), {}

    objective = OBJECTIVES[name]
    sgd, sam = flops(objective, TXS["sgd"]), flops(objective, TXS["sam"])
    plain = flops(OBJECTIVES["plain"], TXS["sgd"])
    nets = objective.num_networks
    # Logits of the examples as they are take one forward pass more: 2 of the 5 products of two
    # layers, of which the first needs no gradient in its inputs.
    looks = name in ("dividemix", "mixup of soft bootstrapping", "mixup of elr")
    extra = 2 / 5 if looks else 0
    assert sgd / plain / nets == pytest.approx(1 + extra, abs=0.03)
    assert sam / plain / nets == pytest.approx(2 + extra, abs=0.03)


def test_predictions_of_a_pair_are_means_of_probabilities():
    params = tuple(variables(seed)[0] for seed in (0, 1))
    logits, _ = mean_prediction(forward_of(MODEL))(params, ({}, {}), INPUTS, train=False)
    each = [jax.nn.softmax(MODEL.apply({"params": one}, INPUTS)) for one in params]
    np.testing.assert_allclose(jnp.exp(logits), (each[0] + each[1]) / 2, rtol=1e-5)


def test_a_perturbation_per_device_is_refused_for_what_sees_the_whole_batch():
    for name in ("elr", "co_teaching", "mixup"):
        with pytest.raises(ValueError, match="leave per_device_perturbation off"):
            make_train_step(forward_of(MODEL), OBJECTIVES[name], BASE, axis_name="data")


LIMITS = {
    "one class": lambda: np.zeros(N, np.int32),
    "two classes of four": lambda: (LABELS % 2).astype(np.int32),
}


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_few_classes_are_finite(name, limit):
    states, records = of(name, "saner", labels=LIMITS[limit]())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states))
    assert all(np.isfinite(record.loss) for record in records)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_logits_far_away_are_finite(name):
    objective, tx = OBJECTIVES[name], TXS["saner"]

    def far(seed):
        params, kept = variables(seed)
        return jax.tree.map(lambda leaf: 300.0 * leaf, params), kept

    start = init_networks(far, tx, objective, LABELS, C, seed=0)
    states, records = of(name, "saner", start=start, num_steps=4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states))
    assert all(np.isfinite(record.loss) for record in records)


@pytest.mark.slow
def test_no_clean_example_leaves_the_parameters_to_the_base():
    objective = ob.clean_weights(0)
    state = init_networks(variables, TXS["saner"], objective, LABELS, C, seed=0)
    none = {**state.memory.rows, "clean": jnp.zeros(N)}
    state = state._replace(memory=state.memory._replace(rows=none))
    step = make_train_step(forward_of(MODEL), objective, TXS["saner"])
    rows = jnp.arange(B, dtype=jnp.int32)
    after, record = step(state, INPUTS[rows], jnp.asarray(LABELS)[rows], rows)
    assert float(record.loss) == 0.0
    assert_bitwise(after.params, state.params)


@pytest.mark.parametrize("name", ob.OBJECTIVES)
def test_a_method_is_a_function_of_at_most_twelve_lines(name):
    function = ob.OBJECTIVES[name]
    assert inspect.isfunction(function)
    source = textwrap.dedent(inspect.getsource(function))
    (node,) = ast.parse(source).body
    first = node.body[1].lineno - 1
    lines = [line for line in source.splitlines()[first:] if line.strip()]
    assert len(lines) <= 12, lines
