"""Label noise that depends on the class has the documented counts, rates and records."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saner_jax.data.noise import (
    CIFAR100_SUPERCLASSES,
    NOISE_TYPES,
    asymmetric_cifar10,
    asymmetric_cifar100,
    pair,
    symmetric,
    symmetric_inclusive,
    transition,
)

EXACT = [name for name in NOISE_TYPES if name == "symmetric" or "pair" in name or "100" in name]
ANY_CLASSES = [name for name in NOISE_TYPES if "cifar" not in name]

problems = st.tuples(
    st.integers(2, 12), st.integers(0, 200), st.floats(0, 1), st.integers(0, 2**32)
)


def classes_of(name, num_classes):
    """Return the number of classes that a noise model requires, or the given one."""
    if "cifar100" in name:
        return 100
    return 10 if "cifar10" in name else num_classes


def some_labels(num_classes, num_examples):
    return np.random.default_rng(0).integers(0, num_classes, size=num_examples)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISE_TYPES)
@settings(max_examples=60)
@given(problem=problems)
def test_every_record_agrees_with_its_labels(name, problem):
    num_classes, num_examples, rate, seed = problem
    num_classes = classes_of(name, num_classes)
    true_labels = some_labels(num_classes, num_examples)
    noisy = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)
    again = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)

    assert noisy.labels.dtype == noisy.true_labels.dtype == np.int32
    np.testing.assert_array_equal(noisy.true_labels, true_labels)
    np.testing.assert_array_equal(noisy.is_flipped, noisy.labels != true_labels)
    assert noisy.rate == (noisy.is_flipped.mean() if num_examples else 0)
    assert ((noisy.labels >= 0) & (noisy.labels < num_classes)).all()
    for matrix in (noisy.transition_asked, noisy.transition_realized):
        assert matrix.shape == (num_classes, num_classes)
        assert (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert noisy.label_hash == again.label_hash
    np.testing.assert_array_equal(noisy.labels, again.labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=60)
@given(problem=problems)
def test_exclusive_noise_flips_an_exact_count_and_never_to_the_true_class(name, problem):
    num_classes, num_examples, rate, seed = problem
    num_classes = classes_of(name, num_classes)
    true_labels = some_labels(num_classes, num_examples)
    noisy = NOISE_TYPES[name](true_labels, rate, num_classes=num_classes, seed=seed)
    assert noisy.is_flipped.sum() == int(rate * num_examples)


@pytest.mark.parametrize("name", NOISE_TYPES)
def test_a_rate_of_zero_changes_nothing(name):
    num_classes = classes_of(name, 10)
    noisy = NOISE_TYPES[name](np.arange(10), 0.0, num_classes=num_classes, seed=0)
    np.testing.assert_array_equal(noisy.labels, np.arange(10))
    np.testing.assert_array_equal(noisy.transition_realized, np.eye(num_classes))


@pytest.mark.parametrize("name", NOISE_TYPES)
def test_many_draws_realize_the_transition_asked_for(name):
    num_classes = classes_of(name, 5)
    true_labels = np.arange(200_000) % num_classes
    noisy = NOISE_TYPES[name](true_labels, 0.45, num_classes=num_classes, seed=3)
    tolerance = 0.05 if num_classes == 100 else 0.01
    np.testing.assert_allclose(noisy.transition_realized, noisy.transition_asked, atol=tolerance)


def test_inclusive_noise_realizes_less_than_it_redraws():
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


@pytest.mark.parametrize("name", ANY_CLASSES)
@pytest.mark.parametrize(
    ("labels", "rate", "num_classes", "words"),
    [
        ([0, 1], 1.5, 2, "rate must be a number from 0 to 1, got 1.5"),
        ([0, 1], -0.1, 2, "rate must be a number from 0 to 1"),
        ([0, 1], float("nan"), 2, "rate must be a number from 0 to 1, got nan"),
        ([0, 0], 0.5, 1, "num_classes must be at least 2"),
        ([0, 2], 0.5, 2, r"must lie in \[0, 2\), got values in \[0, 2\]"),
        ([-1, 0], 0.5, 2, r"must lie in \[0, 2\), got values in \[-1, 0\]"),
        ([0.0, 1.0], 0.5, 2, "a row of integers, got float64"),
        ([[0], [1]], 0.5, 2, r"a row of integers, got int64 \(2, 1\)"),
    ],
)
def test_values_out_of_range_are_refused_in_a_sentence(name, labels, rate, num_classes, words):
    with pytest.raises(ValueError, match=words):
        NOISE_TYPES[name](labels, rate, num_classes=num_classes, seed=0)


@settings(max_examples=60)
@given(one=st.lists(st.integers(0, 2), max_size=4), other=st.lists(st.integers(0, 2), max_size=4))
def test_hashes_are_equal_exactly_where_labels_are(one, other):
    hashes = [symmetric(x, 0.0, num_classes=3, seed=0).label_hash for x in (one, other)]
    assert (hashes[0] == hashes[1]) == (one == other)


def test_todays_draws_are_those_of_committed_results():
    true_labels = np.random.default_rng(0).integers(0, 7, size=1000)
    hashes = {
        name: NOISE_TYPES[name](true_labels, 0.3, num_classes=7, seed=5).label_hash
        for name in ANY_CLASSES
    }
    assert hashes == {
        "symmetric": "3df657f66164b8a3",
        "symmetric_inclusive": "9ce5626af9307765",
        "pair": "6fa120a44a47e976",
    }


def test_cifar10_classes_go_where_they_are_mistaken_for():
    names = ["airplane", "automobile", "bird", "cat", "deer"]
    names += ["dog", "frog", "horse", "ship", "truck"]
    noisy = asymmetric_cifar10(np.arange(10), 1.0, seed=0)
    moved = {names[a]: names[b] for a, b in enumerate(noisy.labels) if a != b}
    assert moved == {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    }


@settings(max_examples=30)
@given(rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_eligible_counts_are_exact_in_each_class(rate, seed):
    true_labels = some_labels(10, 300)
    noisy = asymmetric_cifar10(true_labels, rate, seed=seed)
    flipped = np.bincount(true_labels[noisy.is_flipped], minlength=10)
    sizes = np.bincount(true_labels, minlength=10)
    expected = [int(rate * n) if c in (2, 3, 4, 5, 9) else 0 for c, n in enumerate(sizes)]
    assert flipped.tolist() == expected


def test_both_ways_of_counting_leave_about_half_the_rate_wrong():
    true_labels = np.arange(50_000) % 10
    eligible = asymmetric_cifar10(true_labels, 0.4, seed=1)
    of_all = asymmetric_cifar10(true_labels, 0.4, seed=1, counted="all")
    assert eligible.rate == 0.2
    assert of_all.rate == pytest.approx(0.2, abs=0.005)
    assert of_all.rate != 0.2


@pytest.mark.parametrize(("target", "share"), [("superclass", 1), ("block5", 0.06), ("next", 0.06)])
def test_cifar100_targets_stay_in_the_superclass_as_often_as_said(target, share):
    labels = asymmetric_cifar100(np.arange(100), 1.0, seed=0, target=target).labels
    assert sorted(labels) == list(range(100))
    assert (labels != np.arange(100)).all()
    assert (CIFAR100_SUPERCLASSES[labels] == CIFAR100_SUPERCLASSES).mean() == share


def test_five_steps_through_a_superclass_return():
    labels = start = np.arange(100)
    for _ in range(5):
        labels = asymmetric_cifar100(labels, 1.0, seed=0).labels
    np.testing.assert_array_equal(labels, start)


def test_the_next_cifar100_class_is_pair_noise():
    true_labels = some_labels(100, 500)
    one = asymmetric_cifar100(true_labels, 0.3, seed=4, target="next")
    assert one.label_hash == pair(true_labels, 0.3, num_classes=100, seed=4).label_hash


rows_of_four = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)


@settings(max_examples=40)
@given(rows=st.lists(rows_of_four, min_size=4, max_size=4), seed=st.integers(0, 2**32))
def test_no_label_is_drawn_that_the_matrix_forbids(rows, seed):
    matrix = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    true_labels = some_labels(4, 200)
    noisy = transition(true_labels, matrix, seed=seed)
    assert (matrix[true_labels, noisy.labels] > 0).all()
    np.testing.assert_array_equal(noisy.transition_asked, matrix)
    assert noisy.label_hash == transition(true_labels, matrix, seed=seed).label_hash


def test_many_draws_realize_a_matrix():
    matrix = [[0.5, 0.3, 0.2], [0, 1, 0], [0.25, 0, 0.75]]
    noisy = transition(np.arange(100_000) % 3, matrix, seed=0)
    np.testing.assert_allclose(noisy.transition_realized, matrix, atol=0.01)
    np.testing.assert_array_equal(noisy.transition_realized[1], [0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "matrix", "words"),
    [
        ([0], [[1, 0]], r"matrix must be square, got \(1, 2\)"),
        ([0], [0.5, 0.5], r"matrix must have rows of at least 2 classes, got \(2,\)"),
        ([0], [[1.0]], r"matrix must have rows of at least 2 classes, got \(1, 1\)"),
        ([0], [[1.5, -0.5], [0, 1]], "matrix must hold finite probabilities of at least 0"),
        ([0], [[np.nan, 1], [0, 1]], "matrix must hold finite probabilities"),
        (
            [0],
            [[0.5, 0.49], [0, 1]],
            "matrix must have rows that sum to 1, got one that is off by 0.01",
        ),
        ([2], [[1, 0], [0, 1]], r"must lie in \[0, 2\), got values in \[2, 2\]"),
    ],
)
def test_a_matrix_that_is_none_is_refused_in_a_sentence(labels, matrix, words):
    with pytest.raises(ValueError, match=words):
        transition(labels, matrix, seed=0)


@pytest.mark.parametrize("name", [name for name in NOISE_TYPES if "cifar" in name])
def test_cifar_maps_refuse_other_numbers_of_classes(name):
    needed = classes_of(name, None)
    with pytest.raises(
        ValueError, match=f"num_classes must be {needed}, as in CIFAR-{needed}, got 7"
    ):
        NOISE_TYPES[name]([0, 1], 0.5, num_classes=7, seed=0)


def test_unknown_choices_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match='counted must be "eligible" or "all", got \'some\''):
        asymmetric_cifar10([0], 0.5, seed=0, counted="some")
    with pytest.raises(ValueError, match="target must be one of superclass, block5, next, got 'x'"):
        asymmetric_cifar100([0], 0.5, seed=0, target="x")


@pytest.mark.parametrize(
    ("rate", "num_classes", "message"),
    [("half", 2, "rate must be a number, got 'half'"), (0.5, 2.0, "num_classes .*, got 2.0")],
)
def test_values_of_another_type_are_refused_as_such(rate, num_classes, message):
    with pytest.raises(TypeError, match=message):
        symmetric([0, 1], rate, num_classes=num_classes, seed=0)
