"""The linear theory equals its formulas, and the toy example the authors' trajectories."""

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import saner_jax
from saner_jax.analysis import (
    descend,
    example_weight,
    ratio_of_parts,
    shrinkage_ratio,
    shrinking_dominance,
    two_gaussians,
)

logits = st.floats(-30, 30)
shifts = st.floats(0.01, 5)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_the_ratio_is_the_quotient_that_the_authors_plot():
    rng = np.random.default_rng(0)
    z1, z2 = rng.uniform(-10, -0.1, (2, 400_000))
    for shift in (0.0, 0.3, 1.0, 4.0):
        quotient = (1 - sigmoid(z1 + shift) - sigmoid(z2 - shift)) / (1 - sigmoid(z1) - sigmoid(z2))
        np.testing.assert_allclose(shrinkage_ratio(z1, z2, shift), quotient, rtol=1e-12)


@pytest.mark.parametrize(
    ("z1", "z2", "ratio"),
    [
        *((-1, -5, 0.68685), (-5, -1, 1.19113), (-2, -2, 0.89763)),
        *((-5, -5, 0.99283), (-2.5, -7.5, 0.88499), (-7.5, -2.5, 1.04937)),
    ],
)
def test_the_ratio_at_points_of_the_papers_plot(z1, z2, ratio):
    assert shrinkage_ratio(z1, z2, 1.0) == pytest.approx(ratio, abs=5e-6)


@given(logits, logits, shifts)
def test_a_coordinate_shrinks_until_noise_is_ahead_by_the_shift(z1, z2, shift):
    ratio = shrinkage_ratio(z1, z2, shift)
    assert ratio > 0
    # For large logits the ratio is exactly 1.
    if abs(z2 - z1 - shift) > 1e-6 and max(z1, z2) > -20:
        assert (ratio < 1) == (z2 - z1 < shift) or abs(ratio - 1) < 1e-12


def test_the_share_of_the_square_in_which_coordinates_shrink():
    edges = (np.arange(2000) + 0.5) / 2000 * -10
    ratio = shrinkage_ratio(edges[:, None], edges[None], 1.0)
    assert np.mean(ratio < 1) == pytest.approx(1 - (10 - 1) ** 2 / 200, abs=1e-3)


@given(logits, logits, shifts)
def test_the_ratio_of_parts_is_that_of_the_two_examples(z1, z2, shift):
    # The clean part is s(z1), the noisy one s(z2) - 1; each example is perturbed separately.
    clean, noisy = sigmoid(z1), sigmoid(-z2)
    clean_gain, noisy_gain = sigmoid(z1 + shift) / clean, sigmoid(shift - z2) / noisy
    dominance = noisy / clean
    if abs(dominance - 1) < 1e-3:
        return
    # The error that two differences of rounded numbers can have.
    largest = max(noisy_gain * dominance, clean_gain, 1)
    tolerance = 1e-14 * largest / min(abs(dominance - 1), 1) ** 2
    expected = shrinkage_ratio(z1, z2, shift)
    got = ratio_of_parts(clean_gain, noisy_gain, dominance)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=tolerance)


def test_example_weights_are_the_gains_and_grow_with_the_margin():
    margins = np.linspace(-20, 20, 401)
    weights = example_weight(margins, 1.5)
    np.testing.assert_allclose(weights, sigmoid(1.5 - margins) / sigmoid(-margins), rtol=1e-12)
    assert (np.diff(weights) > 0).all()
    assert 1 < weights[0] < weights[-1] < np.exp(1.5)
    assert (example_weight(margins, 0.0) == 1).all()


@given(st.floats(1, 10), st.floats(1, 10), st.floats(1.001, 100))
def test_the_dominance_that_shrinks(clean_gain, noisy_gain, dominance):
    low, high = shrinking_dominance(clean_gain, noisy_gain)
    ratio = ratio_of_parts(clean_gain, noisy_gain, dominance)
    near = np.isclose(dominance, [low, high], rtol=1e-6).any() or np.isclose(ratio, [0, 1]).any()
    if not near:
        assert (0 < ratio < 1) == bool(low < dominance < high)


RECIPES = {
    "sgd": optax.identity(),
    "sam": saner_jax.sam(3.0, metrics=True),
    # The authors multiply shrunk coordinates by 0.1.
    "saner": saner_jax.saner(3.0, alpha=0.9, metrics=True),
}
ENDS = {"sgd": (-0.7819, 0.3369), "sam": (-1.6373, 1.3706), "saner": (-2.3972, 1.5928)}
# In 100 steps: share of wrong labels fitted, accuracy, loss of clean examples, loss of noisy ones.
AT_100 = {
    "sgd": (0.0, 1.0, 0.373, 1.17),
    "sam": (0.167, 0.921, 0.325, 1.44),
    "saner": (0.0, 0.993, 0.038, 4.40),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", RECIPES)
def test_the_toy_takes_the_authors_path(method):
    examples = two_gaussians()
    path = descend(RECIPES[method], examples, (-8, -2), learning_rate=1.0, num_steps=100)
    np.testing.assert_allclose(path.params[20], ENDS[method], atol=5e-5)
    shrunk = 0 if method == "sgd" else round(2 * float(path.metrics.shrunk[:20].sum()))
    assert shrunk == {"sgd": 0, "sam": 6, "saner": 5}[method]
    is_noisy = examples.labels != examples.true_labels
    logits = examples.inputs @ path.params[-1]
    losses = np.logaddexp(0, np.where(examples.labels == 1, -logits, logits))
    right = (logits > 0) == (examples.labels == 1)
    loss = lambda rows: losses[rows].mean()
    got = right[is_noisy].mean(), right[~is_noisy].mean(), loss(~is_noisy), loss(is_noisy)
    np.testing.assert_allclose(got, AT_100[method], atol=6e-3)


@pytest.mark.slow
def test_the_toy_leaves_the_callers_precision_alone():
    descend(RECIPES["sam"], two_gaussians(20), (1, 1), learning_rate=1.0, num_steps=2)
    assert jax.numpy.zeros(1).dtype == np.float32
