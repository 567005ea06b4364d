"""Label noise that depends on the image follows its published distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saner_jax.data.noise import instance, pmd, target_rows


def some_images(num_images, seed=0):
    return np.random.default_rng(seed).normal(size=(num_images, 2, 3))


def some_posteriors(true_labels, num_classes, sharpness=4.0, seed=0):
    """Return class probabilities of a model that is mostly right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(true_labels), num_classes))
    logits[np.arange(len(true_labels)), true_labels] += sharpness
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


@settings(max_examples=30)
@given(
    num_classes=st.integers(2, 6),
    num_examples=st.integers(0, 100),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_the_record_of_instance_noise_agrees_with_its_labels(num_classes, num_examples, rate, seed):
    true_labels = np.arange(num_examples) % num_classes
    images = some_images(num_examples)
    noisy = instance(true_labels, images, rate, num_classes=num_classes, seed=seed)
    again = instance(true_labels, images, rate, num_classes=num_classes, seed=seed)

    assert noisy.label_hash == again.label_hash
    np.testing.assert_array_equal(noisy.true_labels, true_labels)
    assert ((noisy.labels >= 0) & (noisy.labels < num_classes)).all()
    for matrix in (noisy.transition_asked, noisy.transition_realized):
        assert (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("rate", "mean"),
    [(0.0, 0.0), (0.1, 0.1288), (0.2, 0.2055), (0.4, 0.4), (0.8, 0.7945), (1.0, 0.9202)],
)
def test_instance_noise_realizes_the_mean_of_the_cut_distribution(rate, mean):
    true_labels = np.arange(60_000) % 4
    noisy = instance(true_labels, some_images(60_000), rate, num_classes=4, seed=1)
    assert noisy.rate == pytest.approx(mean, abs=0.006)
    np.testing.assert_allclose(noisy.transition_asked.diagonal(), 1 - mean, atol=0.006)
    np.testing.assert_allclose(noisy.transition_realized, noisy.transition_asked, atol=0.015)


def test_the_image_decides_where_a_label_goes():
    images = np.repeat(np.random.default_rng(0).normal(size=(2, 1, 3072)), 200, axis=0)
    noisy = instance(np.zeros(400, int), images, 0.5, num_classes=10, seed=3)
    halves = np.split(np.arange(400), 2)
    targets = [set(noisy.labels[half][noisy.is_flipped[half]]) for half in halves]
    # Maps of CIFAR's size saturate, so that nearly every image has one target.
    assert [len(t) for t in targets] == [1, 1]
    assert targets[0] != targets[1]


def test_targets_follow_the_published_formula():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=5), rng.normal(size=(5, 4))
    logits = [sum(x[i] * w[i, j] for i in range(5)) for j in range(4)]
    odds = [0 if j == 2 else np.exp(logits[j]) for j in range(4)]
    rows = target_rows(x[None].astype(np.float32), w.astype(np.float32), 2)
    np.testing.assert_allclose(rows, [[o / sum(odds) for o in odds]], rtol=1e-5)


def test_bytes_are_normalized_by_channel():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(1500, 2, 2, 3), dtype=np.uint8)
    images[..., 2] = 7
    by_hand = images.astype(np.float64)
    by_hand -= by_hand.mean(axis=(0, 1, 2))
    by_hand[..., :2] /= by_hand.std(axis=(0, 1, 2))[:2]
    true_labels = np.arange(1500) % 5
    one = instance(true_labels, images, 0.4, num_classes=5, seed=0)
    other = instance(true_labels, by_hand, 0.4, num_classes=5, seed=0)
    assert one.label_hash == other.label_hash
    np.testing.assert_allclose(one.transition_asked, other.transition_asked, rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 4)), r"images must be \(3, ...\), one per label, got \(2, 4\)"),
        (np.zeros(3), r"images must be \(3, ...\), one per label, got \(3,\)"),
        (np.full((3, 4), np.nan), "images must be finite"),
        (np.zeros((3, 4), np.uint8), r"uint8 \(n, h, w, channels\), got uint8 \(3, 4\)"),
        (np.zeros((3, 2, 2, 1), int), "images must be floating point and normalized, or uint8"),
    ],
)
def test_images_of_another_kind_are_refused_in_a_sentence(images, words):
    with pytest.raises(ValueError, match=words):
        instance([0, 1, 2], images, 0.5, num_classes=3, seed=0)


@pytest.mark.parametrize("kind", [1, 2, 3])
@settings(max_examples=15)
@given(rate=st.floats(0.15, 0.85), seed=st.integers(0, 2**32))
def test_pmd_noise_realizes_its_rate_and_keeps_to_two_choices(kind, rate, seed):
    true_labels = np.arange(4000) % 5
    posteriors = some_posteriors(true_labels, 5)
    noisy = pmd(true_labels, posteriors, rate, kind=kind, seed=seed)
    # Five standard deviations of 4000 draws.
    assert noisy.rate == pytest.approx(rate, abs=0.04)
    expected = 1 - noisy.transition_asked.diagonal().mean()
    assert expected == pytest.approx(rate, abs=1e-9)
    best_two = np.argsort(posteriors, axis=1)[:, -2:]
    assert (best_two == noisy.labels[:, None]).any(axis=1).all()
    np.testing.assert_allclose(noisy.transition_asked.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        (1, lambda d: 0.5 + d * d / 2),
        (2, lambda d: d**3),
        (3, lambda d: (d + d**2 + d**3) / 3),
    ],
)
def test_pmd_keeps_the_first_choice_by_the_published_types(kind, formula):
    margins = np.array([0.2, 0.5, 0.8])
    posteriors = np.array([[0.6, 0.4, 0.0], [0.0, 0.75, 0.25], [0.1, 0.0, 0.9]])
    keep = formula(margins) / 2
    noisy = pmd([0, 1, 2], posteriors, 1 - keep.mean(), kind=kind, seed=0)
    np.testing.assert_allclose(
        noisy.transition_asked,
        [[keep[0], 1 - keep[0], 0], [0, keep[1], 1 - keep[1]], [1 - keep[2], 0, keep[2]]],
        atol=1e-12,
    )


def test_pmd_counts_errors_of_the_model_as_wrong_labels():
    # For the second example only the second choice is right, for the third neither.
    posteriors = np.tile([[0.9, 0.1, 0.0]], (4, 1))
    noisy = pmd([0, 1, 2, 0], posteriors, 0.6, kind=2, seed=0)
    kept = 3 - 4 * 0.6
    np.testing.assert_allclose(noisy.transition_asked, [[kept, 1 - kept, 0]] * 3, atol=1e-12)


def test_pmd_flips_where_the_model_wavers():
    true_labels = np.arange(4000) % 5
    posteriors = some_posteriors(true_labels, 5)
    noisy = pmd(true_labels, posteriors, 0.35, kind=3, seed=0)
    sure = posteriors.max(axis=1) > 0.9
    assert noisy.is_flipped[sure].mean() + 0.2 < noisy.is_flipped[~sure].mean()


def test_a_perfect_model_gives_every_rate_from_none_to_all():
    true_labels = np.arange(30) % 3
    posteriors = some_posteriors(true_labels, 3, sharpness=50)
    for rate in (0.0, 1.0):
        assert pmd(true_labels, posteriors, rate, kind=2, seed=0).rate == rate


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": 4}, "kind must be 1, 2 or 3, got 4"),
        ({"rate": 0.01}, r"rate must lie in \[0.5000, 1.0000\] for these posteriors, got 0.01"),
        ({"rate": 2}, "rate must be a number from 0 to 1, got 2"),
        ({"true_labels": [0]}, r"one row for each of 1 labels \(at least one\), got 2 rows"),
        ({"true_labels": [0, 3]}, r"must lie in \[0, 3\)"),
        ({"posteriors": [[1, 1, 0], [0, 1, 0]]}, "posteriors must have rows that sum to 1"),
        ({"posteriors": [1, 0, 0]}, "posteriors must have rows of at least 2 classes"),
    ],
)
def test_pmd_refuses_in_a_sentence(change, words):
    given = {
        "true_labels": [0, 2],
        "posteriors": [[0.8, 0.2, 0], [0.8, 0.2, 0]],
        "rate": 0.7,
        "kind": 1,
    } | change
    with pytest.raises(ValueError, match=words):
        pmd(**given, seed=0)
