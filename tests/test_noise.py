import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saner_jax.data import NOISE_TYPES, pair, symmetric, symmetric_inclusive

problems = st.tuples(
    st.integers(2, 12), st.integers(0, 200), st.floats(0, 1), st.integers(0, 2**32)
)


def some_labels(num_classes, num_examples):
    return np.random.default_rng(0).integers(0, num_classes, size=num_examples)


@pytest.mark.parametrize("name", NOISE_TYPES)
@settings(deadline=None, max_examples=60)
@given(problem=problems)
def test_every_record_agrees_with_its_labels(name, problem):
    num_classes, num_examples, rate, seed = problem
    true_labels = some_labels(num_classes, num_examples)
    noisy = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)
    again = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)

    assert noisy.labels.dtype == noisy.true_labels.dtype == np.int32
    np.testing.assert_array_equal(noisy.true_labels, true_labels)
    np.testing.assert_array_equal(noisy.is_flipped, noisy.labels != true_labels)
    assert noisy.rate == (noisy.is_flipped.mean() if num_examples else 0)
    assert ((noisy.labels >= 0) & (noisy.labels < num_classes)).all()
    for transition in (noisy.transition_asked, noisy.transition_realised):
        assert transition.shape == (num_classes, num_classes)
        assert (transition >= 0).all()
        np.testing.assert_allclose(transition.sum(axis=1), 1)
    assert noisy.label_hash == again.label_hash
    np.testing.assert_array_equal(noisy.labels, again.labels)


@pytest.mark.parametrize("name", ["symmetric", "pair"])
@settings(deadline=None, max_examples=60)
@given(problem=problems)
def test_exclusive_noise_flips_an_exact_count_and_never_to_the_true_class(name, problem):
    num_classes, num_examples, rate, seed = problem
    true_labels = some_labels(num_classes, num_examples)
    noisy = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)
    assert noisy.is_flipped.sum() == int(rate * num_examples)


@pytest.mark.parametrize("name", NOISE_TYPES)
def test_a_rate_of_zero_changes_nothing(name):
    noisy = NOISE_TYPES[name](np.arange(10), 0.0, num_classes=10, seed=0)
    np.testing.assert_array_equal(noisy.labels, np.arange(10))
    np.testing.assert_array_equal(noisy.transition_realised, np.eye(10))


@pytest.mark.parametrize("name", NOISE_TYPES)
def test_many_draws_realise_the_transition_asked_for(name):
    true_labels = np.arange(200_000) % 5
    noisy = NOISE_TYPES[name](true_labels, 0.45, num_classes=5, seed=3)
    np.testing.assert_allclose(noisy.transition_realised, noisy.transition_asked, atol=0.01)


def test_inclusive_noise_realises_less_than_it_redraws():
    noisy = symmetric_inclusive(np.arange(100_000) % 10, 0.5, num_classes=10, seed=0)
    assert noisy.rate == pytest.approx(0.45, abs=0.005)


def test_pair_noise_goes_to_the_next_class_and_wraps():
    noisy = pair([0, 1, 2, 2], 1.0, num_classes=3, seed=0)
    assert noisy.labels.tolist() == [1, 2, 0, 0]
    np.testing.assert_array_equal(noisy.transition_asked, [[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_other_seeds_draw_other_labels():
    hashes = {
        symmetric(np.arange(100) % 10, 0.4, num_classes=10, seed=seed).label_hash
        for seed in range(5)
    }
    assert len(hashes) == 5


def test_the_hash_is_the_same_on_every_machine():
    assert symmetric([0, 1, 2], 0.0, num_classes=3, seed=0).label_hash == "ad5dc1478de06a4c"


def test_a_generator_may_stand_in_for_the_seed():
    rng = np.random.default_rng(7)
    noisy = symmetric(np.arange(50) % 5, 0.4, num_classes=5, seed=rng)
    same = symmetric(np.arange(50) % 5, 0.4, num_classes=5, seed=7)
    assert noisy.label_hash == same.label_hash


@pytest.mark.parametrize("name", NOISE_TYPES)
@pytest.mark.parametrize(
    ("labels", "rate", "num_classes", "words"),
    [
        ([0, 1], 1.5, 2, "rate must be a fraction from 0 to 1, not 1.5"),
        ([0, 1], -0.1, 2, "rate must be a fraction"),
        ([0, 1], float("nan"), 2, "rate must be a fraction from 0 to 1, not nan"),
        ([0, 0], 0.5, 1, "num_classes must be at least 2"),
        ([0, 2], 0.5, 2, r"must lie in \[0, 2\), not in \[0, 2\]"),
        ([-1, 0], 0.5, 2, r"must lie in \[0, 2\), not in \[-1, 0\]"),
        ([0.0, 1.0], 0.5, 2, "one row of integers, not float64"),
        ([[0], [1]], 0.5, 2, r"one row of integers, not int64 \(2, 1\)"),
    ],
)
def test_values_out_of_range_are_refused_in_a_sentence(name, labels, rate, num_classes, words):
    with pytest.raises(ValueError, match=words):
        NOISE_TYPES[name](labels, rate, num_classes=num_classes, seed=0)
