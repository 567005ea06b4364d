"""The parts of objectives against numbers worked out in float64, and at their limits.

The digits are those that the authors' code, or a converged scikit-learn, gives for two examples.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax import objectives as ob
from saner_jax.objectives import Memory, Observed, Supervision

Z = np.array([[2, 0, -1], [0.5, 1.5, 0]], np.float64)
PEER = np.array([[0, 1, 0], [0.2, 0, 1]], np.float64)
Y = np.array([0, 2])
T = [[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]
A = -np.log(1e-4)
P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def supervised(objective, *, logits=Z, peer=None, labels=Y, rows=(), shared=(), step=0):
    own = Observed(jnp.asarray(logits), rows, shared)
    other = own if peer is None else Observed(jnp.asarray(peer), rows, shared)
    return objective.supervise(own, other, jnp.asarray(labels), jnp.asarray(step))


def each(objective, **more):
    """Return the value of the objective for each example alone."""
    told, _ = supervised(objective, **more)
    of_row = lambda row: jax.tree.map(lambda leaf: leaf[row : row + 1] if leaf.ndim else leaf, told)
    return [float(objective.loss(jnp.asarray(Z[[row]]), of_row(row))) for row in range(2)]


VALUES = {
    "cross_entropy": (ob.make_objective(), [0.1698460196, 1.9643687841]),
    "gce": (ob.gce(0.7), [0.1601378579, 1.0673930087]),
    "mae": (ob.make_objective(ob.absolute_errors), [0.1562052655, 0.8597556168]),
    "rce": (
        ob.make_objective(ob.blend((A, ob.absolute_errors))),
        [1.4387036633, 7.9186418678],
    ),
    "sce": (ob.sce(0.1, 1.0), [1.4556882653, 8.1150787462]),
    "sce of CIFAR-100": (ob.sce(6.0, 0.1), [1.1629464837, 12.5780768914]),
    "nce": (ob.make_objective(ob.normalized(ob.cross_entropies)), [0.0308276334, 0.5045761935]),
    "nce_rce": (ob.nce_rce(1.0, 1.0), [1.4695312967, 8.4232180612]),
    "nce_rce of CIFAR-100": (ob.nce_rce(10.0, 0.1), [0.4521467005, 5.8376261217]),
    "forward": (ob.forward_correction(T), [0.3580210962, 1.5077202652]),
    "smoothing": (ob.label_smoothing(0.1), [0.3365126862, 1.8977021174]),
    "bootstrapping, hard": (ob.bootstrapping(0.8), [0.1698460196, 1.6643687841]),
    "bootstrapping, soft": (ob.bootstrapping(0.95, hard=False), [0.1875670494, 1.9114483077]),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_objective_without_memory_has_its_value(name):
    objective, expected = VALUES[name]
    np.testing.assert_allclose(each(objective), expected, atol=2e-10)


def gradient(objective, told):
    """Return the gradient of the sum over the examples in the logits."""
    with_sum = lambda z: len(Z) * objective.loss(z, told)
    return jax.grad(with_sum)(jnp.asarray(Z))


@pytest.mark.slow
def test_soft_targets_are_constants():
    objective = ob.bootstrapping(0.95, hard=False)
    told, _ = supervised(objective)
    expected = [
        [-0.1483950023, 0.1084854395, 0.0399095632],
        [0.2196627027, 0.5971051331, -0.8167678360],
    ]
    np.testing.assert_allclose(gradient(objective, told), expected, atol=2e-10)


def test_elr_has_its_memory_value_and_gradient():
    objective = ob.elr(3.0, 0.7)
    rows = jnp.array([[0.2, 0.5, 0.1], [0.0, 0.0, 0.0]])
    told, new = supervised(objective, rows=rows)
    expected = [
        [0.3931384203, 0.3842585598, 0.0826030198],
        [0.0693671693, 0.1885595158, 0.0420733149],
    ]
    np.testing.assert_allclose(new, expected, atol=2e-10)
    np.testing.assert_allclose(each(objective, rows=rows), [-1.259807128, 1.5103106359], atol=2e-9)
    expected = [
        [-0.2135239310, 0.1113373145, 0.1021866166],
        [0.2885938013, 0.5230053087, -0.8115991099],
    ]
    np.testing.assert_allclose(gradient(objective, told), expected, atol=2e-10)


@pytest.mark.slow
def test_elrs_penalty_is_lowest_where_the_authors_is():
    for num_classes, lowest in ((3, -8.11), (10, -6.91), (100, -4.62)):
        sure = 50.0 * jnp.eye(num_classes)[:1]
        objective = ob.elr(1.0, 0.0)
        told, _ = supervised(objective, logits=sure, labels=[0], rows=jnp.zeros((1, num_classes)))
        assert ob.agreement_penalty(sure, told.extra) == pytest.approx(lowest, abs=0.01)
        grads = jax.grad(lambda z, told=told: ob.agreement_penalty(z, told.extra))(sure)
        np.testing.assert_array_equal(grads, 0.0)


def test_selc_has_its_memory_and_value():
    objective = ob.selc(start_steps=0, decay=0.9)
    rows = objective.init(Y, 3).rows
    _, new = supervised(objective, rows=rows, step=1)
    expected = [
        [0.9843794734, 0.0114195199, 0.0042010066],
        [0.0231223898, 0.0628531719, 0.9140244383],
    ]
    np.testing.assert_allclose(new, expected, atol=2e-10)
    values = each(objective, rows=rows, step=1)
    np.testing.assert_allclose(values, [0.2052880793, 1.8585278313], atol=2e-10)


def test_plc_corrects_the_labels_below_its_threshold():
    f = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.45, 0.3], [0.5, 0.49, 0.01]])
    labels = np.array([1, 2, 0, 1])

    def corrected(delta, step=11):
        objective = ob.plc(10, 1, delta=delta, window=1)
        memory = objective.init(labels, 3)
        memory = memory._replace(rows={**memory.rows, "recent": jnp.asarray(f[:, None])})
        return objective.revise(memory, jnp.asarray(step))

    assert corrected(0.3).rows["label"].tolist() == [0, 2, 0, 1]
    assert corrected(0.6).rows["label"].tolist() == [0, 1, 1, 1]
    assert corrected(0.3, step=10).rows["label"].tolist() == labels.tolist()
    # It rises where nothing was corrected, to 0.9 at most, and not before the start.
    assert corrected(0.3).shared == pytest.approx(0.3)
    assert corrected(0.2).shared == pytest.approx(0.3)
    assert corrected(0.2, step=10).shared == pytest.approx(0.2)


def test_plcs_threshold_stops_at_nine_tenths():
    objective = ob.plc(0, 1, delta=0.85, window=1)
    memory = objective.init(Y, 3)
    sure = jnp.asarray(np.eye(3)[Y])[:, None]
    memory = memory._replace(rows={**memory.rows, "recent": sure})
    assert objective.revise(memory, jnp.asarray(1)).shared == pytest.approx(0.9)


@pytest.mark.slow
def test_joint_optimization_has_its_terms():
    soft = jnp.asarray(np.eye(3)[Y])
    cost = float(np.mean(VALUES["cross_entropy"][1]))
    assert cost == pytest.approx(1.0671074018)
    assert float(ob.divergence_from_prior(jnp.asarray(Z))) == pytest.approx(0.237015006, abs=1e-9)
    assert float(ob.entropy(jnp.asarray(Z))) == pytest.approx(0.7151129366, abs=1e-9)
    objective = ob.joint_optimization(0, 1, prior_strength=1.2, entropy_strength=0.8)
    told, _ = supervised(objective, rows={"soft": soft, "recent": jnp.zeros((2, 10, 3))})
    # The paper's prior term is larger by log c, a constant.
    expected = 3.2419505047 - 1.2 * np.log(3)
    assert float(objective.loss(jnp.asarray(Z), told)) == pytest.approx(expected, abs=2e-9)


def test_soft_labels_are_the_mean_of_the_epochs_so_far():
    objective = ob.joint_optimization(1, 1, window=4)
    memory = objective.init(Y, 3)
    for step in range(3):
        _, rows = supervised(objective, rows=memory.rows, step=step)
        memory = objective.revise(memory._replace(rows=rows), jnp.asarray(step + 1))
    np.testing.assert_allclose(memory.rows["soft"], P, rtol=1e-12)


def test_jocor_has_its_gradient():
    objective = ob.jocor(lambda step: 0.0, strength=0.1)
    told, _ = supervised(objective, peer=PEER)
    expected = [
        [-0.0378578671, 0.0276763188, 0.0101815487],
        [0.1932734011, 0.6477643091, -0.8410377099],
    ]
    np.testing.assert_allclose(gradient(objective, told), expected, atol=2e-10)
    kl = ob.symmetric_divergence(jnp.asarray(Z), jnp.asarray(PEER))
    both = [0.9129828978, 0.5048530611]
    other = np.asarray(kl) - both
    assert (other > 0).all()
    both = np.add([0.1698460196, 1.9643687841], [1.5514447139, 0.5973014803])
    scores = 0.9 * both + 0.1 * np.asarray(kl)
    np.testing.assert_allclose(scores, [1.7387176132, 2.4099405254], atol=2e-9)


def test_co_teaching_learns_from_what_is_easy_for_the_peer():
    objective = ob.co_teaching(lambda step: 0.5)
    of_a, _ = supervised(objective, peer=PEER)
    assert of_a.weights.tolist() == [0.0, 1.0]
    own = Observed(jnp.asarray(PEER))
    of_b, _ = objective.supervise(own, Observed(jnp.asarray(Z)), jnp.asarray(Y), 0)
    assert of_b.weights.tolist() == [1.0, 0.0]


def test_the_smallest_losses_are_kept_in_their_order():
    losses = jnp.array([0.3, 2.0, 0.1, 0.9, 0.1])
    assert np.flatnonzero(ob.smallest(losses, 0.6)).tolist() == [0, 2, 4]
    assert np.flatnonzero(ob.smallest(losses, 0.2)).tolist() == [2]
    assert np.flatnonzero(ob.smallest(losses, 0.0)).tolist() == [2], "at least one"
    assert ob.smallest(losses, 1.0).tolist() == [1.0] * 5
    odd = jnp.array([jnp.nan, 1.0, jnp.inf])
    assert ob.smallest(odd, 1 / 3).tolist() == [0.0, 1.0, 0.0]


def test_the_forget_rate_rises_as_in_the_paper():
    kept = [1 - float(ob.forget_rate(0.4, num_steps=10)(step)) for step in (1, 5, 10, 50)]
    np.testing.assert_allclose(kept, [0.96, 0.8, 0.6, 0.6], rtol=1e-6)
    assert float(ob.forget_rate(0.4, num_steps=0)(0)) == pytest.approx(0.4)
    assert float(ob.forget_rate(0.4, num_steps=10, exponent=2)(5)) == pytest.approx(0.1)


def test_dividemix_refines_and_guesses():
    rows = {"clean": jnp.array([0.9, 0.3]), "loss": jnp.zeros(2), "count": jnp.zeros(2, jnp.int32)}
    objective = ob.dividemix(0, threshold=0.0)
    told, _ = supervised(objective, peer=PEER, rows=rows, step=1)
    expected = [
        [0.9998472334, 0.0001345564, 0.0000182102],
        [0.0692484186, 0.5116804495, 0.4190711319],
    ]
    np.testing.assert_allclose(told.targets, expected, atol=2e-10)
    told, _ = supervised(ob.dividemix(0, threshold=1.0), peer=PEER, rows=rows, step=1)
    expected = [
        [0.6732170998, 0.2878294237, 0.0389534766],
        [0.1639677085, 0.4945296350, 0.3415026566],
    ]
    np.testing.assert_allclose(told.targets, expected, atol=2e-10)
    assert not told.weights.any()
    errors = jnp.mean(ob.squared_errors(jnp.asarray(Z), told.targets))
    assert float(errors) == pytest.approx(0.0203732937, abs=2e-10)


X = np.array([0.02, 0.05, 0.04, 0.10, 0.07, 0.03, 0.60, 0.75, 0.55, 0.90])


@pytest.mark.slow
def test_two_gaussians_are_those_of_a_converged_fit():
    once = ob.two_gaussians(jnp.asarray(X), num_rounds=1)
    np.testing.assert_allclose(once.means, [0.1078171483, 0.5828515170], atol=2e-10)
    done = ob.two_gaussians(jnp.asarray(X), num_rounds=50)
    np.testing.assert_allclose(done.means, [0.0359844998, 0.7727183099], atol=2e-10)
    np.testing.assert_allclose(done.variances, [0.0014218485, 0.0247182297], atol=2e-10)
    assert float(done.shares[0]) == pytest.approx(0.5999948498, abs=2e-10)
    assert (done.clean[:6] > 0.9999).all()
    assert (done.clean[6:] < 1e-9).all()


@pytest.mark.slow
def test_two_gaussians_are_scikit_learns():
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(0.5, 0.3, 300), rng.normal(2.0, 0.6, 200)])
    scaled = (losses - losses.min()) / np.ptp(losses)
    theirs = GaussianMixture(
        2, reg_covar=5e-4, max_iter=2000, tol=1e-12, means_init=[[0.2], [0.6]]
    ).fit(scaled[:, None])
    ours = ob.two_gaussians(jnp.asarray(losses), num_rounds=2000)
    np.testing.assert_allclose(ours.means, theirs.means_[:, 0], atol=1e-5)
    np.testing.assert_allclose(ours.clean, theirs.predict_proba(scaled[:, None])[:, 0], atol=1e-4)
    stopped = ob.two_gaussians(jnp.asarray(losses), num_rounds=2000, tolerance=1e-2)
    assert not np.allclose(stopped.means, ours.means, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("losses", "is_seen", "clean"),
    [
        ([1.0, 1.0, 1.0], None, [1, 1, 1]),
        ([0.0, 1.0], None, [1, 0]),
        ([0.1, 0.1, 5.0, 9.0], [True, True, True, False], [1, 1, 0, 1]),
        ([0.1, 0.1, np.nan, 9.0], None, [1, 1, 0, 0]),
        ([0.1, 9.0], [False, False], [1, 1]),
        ([np.inf, np.nan], None, [0, 0]),
    ],
)
def test_a_mixture_is_finite_at_its_limits(losses, is_seen, clean):
    found = ob.two_gaussians(jnp.asarray(losses), is_seen)
    np.testing.assert_allclose(found.clean, clean, atol=1e-6)
    assert np.isfinite(found.means).all()


def test_a_class_without_probability_and_a_zero_of_the_matrix_are_finite():
    far = jnp.array([[2000.0, 0.0, -2000.0]])
    costs = [
        ob.cross_entropies,
        ob.absolute_errors,
        ob.generalized(0.7),
        ob.normalized(ob.cross_entropies),
        ob.through_transition(np.eye(3)),
    ]
    for one in costs:
        value, grads = jax.value_and_grad(lambda z, one=one: one(z)[0, 2])(far)
        assert np.isfinite(value)
        assert np.isfinite(grads).all()


@pytest.mark.slow
def test_mixup_blends_inputs_and_targets_alike():
    objective = ob.mixup(ob.make_objective(), 4.0)
    inputs = jnp.arange(16.0).reshape(8, 2)
    told = Supervision(jnp.eye(8), jnp.ones(8), {"m": inputs, "flags": inputs[:, 0] > 3})
    mixed, after = objective.mix(jax.random.key(3), inputs, told, 0)
    np.testing.assert_allclose(after.targets @ inputs, mixed, rtol=1e-12)
    np.testing.assert_allclose(after.extra["m"], mixed, rtol=1e-12)
    np.testing.assert_array_equal(after.extra["flags"], told.extra["flags"])
    np.testing.assert_array_equal(after.weights, 1.0)
    assert (jnp.diagonal(after.targets) >= 0.5).all()
    shares = {round(float(x), 9) for x in np.asarray(after.targets).ravel()} - {0.0, 1.0}
    assert len(shares) == 2, "one share for all"
    other = objective.mix(jax.random.key(4), inputs, told, 0)[0]
    assert not np.array_equal(other, mixed)


def test_the_matrix_of_anchor_points():
    rng = np.random.default_rng(0)
    truth = np.array(T)
    anchors = np.eye(3)[rng.integers(0, 3, 3000)]
    p = anchors @ truth
    np.testing.assert_allclose(ob.estimate_transition(p), truth, atol=1e-12)
    blurred = 0.5 * p + 0.5 / 3
    assert not np.allclose(ob.estimate_transition(blurred), truth, atol=0.1)
    np.testing.assert_allclose(ob.estimate_transition(blurred).sum(axis=1), 1)


BAD = {
    "q": lambda: ob.gce(0.0),
    "beta": lambda: ob.bootstrapping(1.5),
    "smoothing": lambda: ob.label_smoothing(1.0),
    "transition": lambda: ob.forward_correction([[1.0, 1.0], [0.0, 1.0]]),
    "rate": lambda: ob.forget_rate(1.0, num_steps=3),
    "exponent": lambda: ob.forget_rate(0.5, num_steps=3, exponent=0),
    "concentration": lambda: ob.mixup(ob.make_objective(), 0.0),
    "blend": lambda: ob.blend(),
    "probabilities": lambda: ob.estimate_transition([1.0]),
    "targets": lambda: ob.fixed_targets(np.ones((2, 2))).init(Y, 3),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_argument_is_refused_in_a_sentence(name):
    with pytest.raises(ValueError, match=name):
        BAD[name]()


def test_a_memory_is_counted_and_written_by_rows():
    memory = ob.elr().init(np.zeros(5, int), 3)
    assert ob.bytes_of(memory) == 5 * 3 * 8
    new = ob.remember(memory, jnp.array([4, 1]), jnp.ones((2, 3)))
    np.testing.assert_array_equal(np.asarray(new.rows)[:, 0], [0, 1, 0, 0, 1])
    assert isinstance(new, Memory)


# Methods that are not built, because they diverge, gain nothing or are not worth it, are sentences
# in the same parts.


def test_backward_correction_is_a_choice_of_targets():
    inverse = jnp.asarray(np.linalg.inv(T))
    backward = ob.make_objective(targets=lambda z, y: ob.given(z, y) @ inverse)
    np.testing.assert_allclose(each(backward), [-0.426928174, 2.456304268], atol=2e-9)


def test_cores_is_a_choice_of_targets_and_weights():
    def sieved(prior, beta=2.0):
        return ob.make_objective(
            targets=lambda z, y: ob.given(z, y) - beta * jnp.asarray(prior)[None],
            weights=lambda z, y: ob.everyone(z, y),
        )

    uniform = np.full(3, 1 / 3)
    np.testing.assert_allclose(each(sieved(uniform)), [-3.5031793529, -0.6310354508], atol=2e-9)
    values = each(sieved([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(values, [-2.5698460196, -0.5643687841], atol=2e-9)
    # The sieve keeps what costs less than the mean over the classes.
    score = ob.cross_entropies(jnp.asarray(Z))
    below = score[jnp.arange(2), Y] - jnp.mean(score, axis=1)
    np.testing.assert_allclose(below, [-1.6666666667, 0.6666666667], atol=2e-9)


def test_the_negative_loss_of_anl_is_a_choice_of_costs():
    most = -np.log(1e-7)
    costs = lambda z: 1 - ob.normalized(lambda z: most - ob.cross_entropies(z))(z)
    negative = each(ob.make_objective(costs))
    np.testing.assert_allclose(negative, [0.6277665282, 0.6816610203], atol=2e-9)


def test_bootstrapping_with_the_gradient_through_its_targets_is_a_penalty():
    flowing = ob.make_objective(
        ob.blend((0.95, ob.cross_entropies)), penalty=lambda z, _: 0.05 * ob.entropy(z)
    )
    told, _ = supervised(flowing)
    expected = [
        [-0.1633479139, 0.1178813029, 0.0454666114],
        [0.2261185841, 0.5832274523, -0.8093460364],
    ]
    np.testing.assert_allclose(gradient(flowing, told), expected, atol=2e-10)


def test_refined_targets_before_they_are_sharpened():
    own = Observed(jnp.asarray(Z))
    clean = jnp.array([0.9, 0.3])
    found = ob.co_refined(own, own, jnp.asarray(Y), clean, threshold=0.0, temperature=1.0)
    expected = [
        [0.9843794734, 0.0114195199, 0.0042010066],
        [0.1618567283, 0.4399722034, 0.3981710682],
    ]
    np.testing.assert_allclose(found, expected, atol=2e-10)


def test_two_betas_are_those_of_the_authors():
    found = ob.two_betas(jnp.asarray(X))
    np.testing.assert_allclose(found.alphas, [0.1936136546, 4.7346550916], atol=2e-10)
    np.testing.assert_allclose(found.betas, [3.4798603913, 1.3443905837], atol=2e-10)
    np.testing.assert_allclose(found.shares, [0.6171881838, 0.3828118162], atol=2e-10)
    assert np.isfinite(ob.two_betas(jnp.ones(4)).clean).all()


def test_sop_is_a_loss_with_parameters_of_every_example():
    u = jnp.array([0.1, 0.3])
    v = jnp.array([[0.2, 0.1, 0.0], [0.0, 0.4, 0.2]])
    logits, labels = jnp.asarray(Z), jnp.asarray(Y)
    p, given = jax.nn.softmax(logits), ob.given(logits, labels)

    def corrections(u, v):
        return u[:, None] ** 2 * given - v**2 * (1 - given)

    def loss(u, v):
        # The network's part holds v, the part of v holds the prediction.
        q = jnp.maximum(p + corrections(u, jax.lax.stop_gradient(v)), 1e-4)
        q = q / jnp.sum(q, axis=1, keepdims=True)
        hard = ob.given(logits, jnp.argmax(logits, axis=1))
        errors = jnp.sum((hard + corrections(u, v) - given) ** 2, axis=1)
        return jnp.mean(-jnp.sum(given * jnp.log(q), axis=1) + errors)

    assert float(loss(u, v)) == pytest.approx(1.5440038888, abs=1e-9)
    of_u, of_v = jax.grad(loss, (0, 1))(u, v)
    np.testing.assert_allclose(of_u, [-0.0151241705, -1.526382736], atol=2e-9)
    np.testing.assert_allclose(of_v, [[0, 0.002, 0], [0, -0.672, 0]], atol=2e-9)
