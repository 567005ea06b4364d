"""The counts of a model over a dataset equal those of a loop over its examples, and add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax.training import Counts, evaluate, shares

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


@pytest.mark.slow
def test_counts_agree_with_a_loop_over_examples():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    labels, true_labels = rng.integers(0, 4, (2, 50)).astype(np.int32)
    counts = evaluate(logits, jnp.asarray(labels), jnp.asarray(true_labels), cross_entropy)
    expected = dict.fromkeys(Counts._fields, 0)
    for row, label, true_label in zip(np.asarray(logits), labels, true_labels, strict=True):
        predicted = row.argmax()
        expected["examples"] += 1
        expected["correct"] += predicted == true_label
        expected["loss"] += np.log(np.exp(row).sum()) - row[label]
        if label == true_label:
            expected["clean_fit"] += predicted == label
        else:
            expected["flipped"] += 1
            expected["memorized"] += predicted == label
            expected["corrected"] += predicted == true_label
    assert {k: float(v) for k, v in counts._asdict().items()} == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_counts_of_two_halves_add_up():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    labels, true_labels = jnp.asarray(rng.integers(0, 4, (2, 50)), jnp.int32)
    count = lambda rows: evaluate(logits[rows], labels[rows], true_labels[rows], cross_entropy)
    halves = jax.tree.map(jnp.add, count(slice(20)), count(slice(20, None)))
    np.testing.assert_allclose(halves, count(slice(None)), rtol=1e-6)


def test_the_share_of_an_empty_group_is_nan():
    result = shares(Counts(*(np.array([value]) for value in (10, 9, 0, 0, 0, 9, 5.0))))
    assert result.accuracy == pytest.approx([0.9])
    assert result.clean_fit == pytest.approx([0.9])
    assert result.fit == pytest.approx([0.9])
    assert result.loss == pytest.approx([0.5])
    assert np.isnan(result.memorized).all()
    assert np.isnan(result.corrected).all()
