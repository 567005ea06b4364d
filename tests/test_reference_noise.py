"""The noise of SANER's authors is repeated exactly; rows with hashes need CIFAR-N's files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import CIFAR_N, needs_cifar_n

from saner_jax.data.noise import (
    asymmetric_cifar10,
    read_human_labels,
    reference_asymmetric,
    reference_dependent,
    reference_hash,
    reference_symmetric,
)

SYMMETRIC = reference_symmetric
ASYMMETRIC = reference_asymmetric
PUBLISHED = [
    (10, SYMMETRIC, 0.25, 42, 0.2500, "2d99219c4d668833"),
    (10, SYMMETRIC, 0.25, 43, 0.2500, "09adf472c21563c1"),
    (10, SYMMETRIC, 0.25, 44, 0.2500, "390ea85d838d8ebf"),
    (10, SYMMETRIC, 0.50, 42, 0.5000, "44e1a14fe67c8e5b"),
    (10, ASYMMETRIC, 0.25, 42, 0.1259, "9751a494d53936d0"),
    (10, ASYMMETRIC, 0.25, 43, 0.1246, "5d6ab9db87b48e09"),
    (10, ASYMMETRIC, 0.25, 44, 0.1246, "a6c13878b5c351f8"),
    (10, ASYMMETRIC, 0.40, 42, 0.2014, "1f4f646d88bbabee"),
    (10, ASYMMETRIC, 0.50, 42, 0.2514, "2162cb60e87f49e2"),
    (100, SYMMETRIC, 0.25, 42, 0.2500, "fc17813012f5135a"),
    (100, SYMMETRIC, 0.25, 43, 0.2500, "768478db9f69b65b"),
    (100, SYMMETRIC, 0.25, 44, 0.2500, "3766240f082e985a"),
    (100, SYMMETRIC, 0.50, 42, 0.5000, "bb5aad9e621e0701"),
    (100, ASYMMETRIC, 0.25, 42, 0.2500, "a004f434bbc5a5ad"),
    (100, ASYMMETRIC, 0.25, 43, 0.2500, "d4f2ca087b996709"),
    (100, ASYMMETRIC, 0.25, 44, 0.2500, "621f1274b2cd85ba"),
    (100, ASYMMETRIC, 0.40, 42, 0.4000, "30f6e45dc115df06"),
    (100, ASYMMETRIC, 0.50, 42, 0.5000, "a8163798e86e4e6e"),
]


@pytest.fixture(scope="module")
def clean_labels():
    """Return the true labels of both training sets, in the order of the Python version."""
    return {n: read_human_labels(CIFAR_N / f"CIFAR-{n}_human.pt")["clean_label"] for n in (10, 100)}


@needs_cifar_n
@pytest.mark.parametrize(("num_classes", "noise", "rate", "seed", "realized", "sha"), PUBLISHED)
def test_the_published_noise_comes_out(clean_labels, num_classes, noise, rate, seed, realized, sha):
    noisy = noise(clean_labels[num_classes], rate, num_classes=num_classes, seed=seed)
    assert round(noisy.rate, 4) == realized
    assert reference_hash(noisy.labels) == sha


@needs_cifar_n
def test_the_clean_labels_are_those_of_the_published_noise(clean_labels):
    assert reference_hash(clean_labels[10]) == "f5cfe00b0f00968c"
    assert reference_hash(clean_labels[100]) == "8bf4935e7c77a309"


def authors_labels(model, true_labels, images, rate, num_classes, seed):
    """Return the labels that the authors' loaders draw, one draw after another."""
    draws = np.random.RandomState(seed)
    labels = [int(label) for label in true_labels]
    if model == "dependent":
        size = images[0].size
        maps = draws.randn(num_classes, size, num_classes).astype(np.float32)
    for i in draws.choice(len(labels), int(rate * len(labels)), replace=False):
        y = labels[i]
        if model == "symmetric":
            labels[i] = draws.choice([c for c in range(num_classes) if c != y])
        elif model == "asymmetric" and num_classes == 10:
            labels[i] = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.get(y, y)
        elif model == "asymmetric":
            labels[i] = (y + 1) % num_classes
        else:
            logits = images[i].reshape(1, -1) @ maps[y]
            odds = np.exp(logits[0] - np.delete(logits[0], y).max())
            odds[y] = 0
            labels[i] = draws.choice(range(num_classes), p=odds / odds.sum())
    return labels


@pytest.mark.parametrize("num_classes", [10, 100])
@pytest.mark.parametrize("model", ["symmetric", "asymmetric", "dependent"])
@settings(max_examples=8)
@given(rate=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_the_draws_are_the_authors(model, num_classes, rate, seed):
    true_labels = np.arange(300) % num_classes
    images = np.random.default_rng(0).normal(size=(300, 3, 2, 2)).astype(np.float32)
    if model == "dependent":
        noisy = reference_dependent(true_labels, images, rate, num_classes=num_classes, seed=seed)
    else:
        noise = {"symmetric": reference_symmetric, "asymmetric": reference_asymmetric}[model]
        noisy = noise(true_labels, rate, num_classes=num_classes, seed=seed)
    expected = authors_labels(model, true_labels, images, rate, num_classes, seed)
    np.testing.assert_array_equal(noisy.labels, expected)
    np.testing.assert_allclose(noisy.transition_asked.sum(axis=1), 1, rtol=1e-6)
    if (model, num_classes) != ("asymmetric", 10):
        assert noisy.is_flipped.sum() == int(rate * 300)


def test_first_draws_of_seed_42_stay_as_they_are():
    noisy = reference_symmetric(np.arange(1000) % 10, 0.4, num_classes=10, seed=42)
    assert reference_hash(noisy.labels) == "143eafbdfa20e004"


def test_a_larger_rate_extends_a_smaller_one():
    true_labels = np.arange(1000) % 10
    less = reference_symmetric(true_labels, 0.2, num_classes=10, seed=42)
    more = reference_symmetric(true_labels, 0.5, num_classes=10, seed=42)
    np.testing.assert_array_equal(
        more.labels[less.is_flipped & more.is_flipped], less.labels[less.is_flipped]
    )


def test_the_asymmetric_model_is_that_of_todays_generator():
    true_labels = np.arange(1000) % 10
    one = reference_asymmetric(true_labels, 0.4, num_classes=10, seed=42)
    other = asymmetric_cifar10(true_labels, 0.4, seed=42, counted="all")
    np.testing.assert_array_equal(one.transition_asked, other.transition_asked)


def test_dependent_targets_realize_the_transition_asked_for():
    true_labels = np.arange(30_000) % 3
    images = np.random.default_rng(0).normal(size=(30_000, 1, 1, 2)).astype(np.float32)
    noisy = reference_dependent(true_labels, images, 0.5, num_classes=3, seed=1)
    assert noisy.rate == 0.5
    np.testing.assert_allclose(noisy.transition_realized, noisy.transition_asked, atol=0.02)


def test_the_hash_is_of_little_endian_int64():
    assert reference_hash(np.array([0, 1, 2], ">i2")) == reference_hash([0, 1, 2])
    assert (
        reference_hash([0, 1, 2])
        != reference_symmetric([0, 1, 2], 0.0, num_classes=3, seed=0).label_hash
    )


def test_wrong_values_are_refused_in_a_sentence():
    images = np.zeros((2, 3, 1, 1), np.float32)
    with pytest.raises(ValueError, match="num_classes must be 10 or 100, got 7"):
        reference_asymmetric([0], 0.5, num_classes=7, seed=0)
    with pytest.raises(ValueError, match="rate must be a number from 0 to 1, got 2"):
        reference_symmetric([0], 2, num_classes=7, seed=0)
    with pytest.raises(ValueError, match="Seed must be between 0 and"):
        reference_symmetric([0], 0.5, num_classes=7, seed=-1)
    with pytest.raises(ValueError, match=r"images must be float32 \(1, channels, h, w\)"):
        reference_dependent([0], images, 0.5, num_classes=2, seed=0)
    with pytest.raises(ValueError, match="one per label, got float64"):
        reference_dependent([0, 1], images.astype(float), 0.5, num_classes=2, seed=0)
