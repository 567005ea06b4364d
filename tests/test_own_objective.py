"""The guide to adding an objective, followed for one that the library does not have.

Generalized Jensen-Shannon without its second view (Englesson and Azizpour 2021, arXiv:2105.04522,
equation 5): the divergence of the label and the prediction, each from their weighted mean.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import saner_jax
from saner_jax.models import MLP
from saner_jax.objectives import OBJECTIVES, Objective, cross_entropies, make_objective
from saner_jax.training import train


def jensen_shannon(share: float = 0.5) -> Objective:
    """Return the objective; towards a share of 0 it is the cross-entropy, towards 1 MAE."""

    def costs(logits):
        p = jnp.exp(-cross_entropies(logits))
        mean = share + (1 - share) * p
        of_label = -jnp.log(mean)
        of_prediction = p * jnp.log(p / mean) - (1 - p) * jnp.log(1 - share)
        scale = -(1 - share) * jnp.log(1 - share)
        return (share * of_label + (1 - share) * of_prediction) / scale

    return make_objective(costs)


def in_numpy(p, label, share):
    e = np.eye(len(p))[label]
    m = share * e + (1 - share) * p
    kl = lambda a, b: sum(x * np.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)
    return (share * kl(e, m) + (1 - share) * kl(p, m)) / (-(1 - share) * np.log(1 - share))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_is_the_papers_formula(share):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 1])
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    expected = np.mean([in_numpy(row, y, share) for row, y in zip(p, labels, strict=True)])
    objective = jensen_shannon(share)
    from saner_jax.objectives import Observed

    own = Observed(jnp.asarray(logits))
    told, _ = objective.supervise(own, own, jnp.asarray(labels), 0)
    assert float(objective.loss(own.logits, told)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.slow
def test_it_trains_with_any_optimizer():
    assert "jensen_shannon" not in OBJECTIVES
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 6))
    truth = (inputs[:, 0] > 0).astype(np.int64)
    labels = np.where(rng.random(300) < 0.25, 1 - truth, truth)
    tx = optax.chain(saner_jax.saner(0.05), optax.sgd(0.1, momentum=0.9))
    options = {"epochs": 40, "batch_size": 30, "true_labels": truth}
    plain, ours = (
        train(MLP(2, (64,)), (inputs, labels), tx, **options, **more)
        for more in ({}, {"loss": jensen_shannon()})
    )
    assert ours.rows[-1]["memorized"] < plain.rows[-1]["memorized"]
