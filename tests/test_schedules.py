"""SANER's warm-up and GSAM's tied radius."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import alpha_warmup, gsam, rho_tied_to_learning_rate, saner


@pytest.mark.parametrize(
    ("warmup_epochs", "counts", "expected"),
    [
        (2, [0, 5, 10, 20, 21, 1000], [0.0, 0.125, 0.25, 0.5, 0.5, 0.5]),
        (0, [0, 1, 1000], [0.5, 0.5, 0.5]),
        (0.5, [0, 1, 5, 6], [0.0, 0.1, 0.5, 0.5]),
    ],
)
def test_alpha_rises_linearly_in_steps_and_stays(warmup_epochs, counts, expected):
    schedule = alpha_warmup(0.5, warmup_epochs=warmup_epochs, steps_per_epoch=10)
    np.testing.assert_allclose([float(schedule(c)) for c in counts], expected, rtol=1e-6)


def test_saner_in_warm_up_starts_as_sam():
    tx = saner(0.1, alpha=alpha_warmup(1.0, warmup_epochs=1, steps_per_epoch=2))
    origin, perturbed = jnp.asarray([2.0]), jnp.asarray([1.0])
    state = tx.init(origin)
    kept = []
    for _ in range(3):
        out, state = tx.update(origin, state, origin, grad_fn=lambda _: perturbed)
        kept.append(float(out[0]))
    assert kept == [1.0, 0.5, 0.0]


def test_rho_follows_the_learning_rate_between_its_bounds():
    learning_rate = optax.cosine_decay_schedule(1.0, 100, alpha=0.1)
    rho = rho_tied_to_learning_rate(
        learning_rate, 0.6, learning_rate_max=1.0, rho_min=0.2, learning_rate_min=0.1
    )
    np.testing.assert_allclose([float(rho(0)), float(rho(100))], [0.6, 0.2], rtol=1e-6)
    assert 0.2 < float(rho(30)) < 0.6


def test_rho_is_never_negative_in_the_learning_rates_warm_up():
    learning_rate = optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100, end_value=0.5)
    rho = rho_tied_to_learning_rate(
        learning_rate, 0.6, learning_rate_max=1.0, rho_min=0.1, learning_rate_min=0.5
    )
    radii = np.asarray([float(rho(c)) for c in range(100)])
    assert radii.min() == 0.0
    assert radii.max() == pytest.approx(0.6)


def test_equal_learning_rates_give_the_largest_rho():
    rho = rho_tied_to_learning_rate(
        lambda count: 0.1, 0.6, learning_rate_max=0.1, rho_min=0.2, learning_rate_min=0.1
    )
    assert float(rho(3)) == 0.6


def test_a_tied_rho_works_in_a_compiled_step():
    learning_rate = optax.linear_schedule(1.0, 0.0, 2)
    tx = gsam(rho_tied_to_learning_rate(learning_rate, 0.5, learning_rate_max=1.0), metrics=True)
    update = jax.jit(lambda s, w: tx.update(w, s, w, grad_fn=lambda p: p))
    w = jnp.asarray([3.0, 4.0])
    state, radii = tx.init(w), []
    for _ in range(3):
        _, state = update(state, w)
        radii.append(float(state.metrics.perturbation_norm))
    np.testing.assert_allclose(radii, [0.5, 0.25, 0.0], atol=1e-6)


@pytest.mark.parametrize(("steps", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_steps_in_an_epoch_are_a_whole_number(steps, error):
    alpha_warmup(0.5, warmup_epochs=1, steps_per_epoch=np.int64(2))
    message = r"^alpha_warmup: steps_per_epoch must be a whole number of at least 1, got"
    with pytest.raises(error, match=message):
        alpha_warmup(0.5, warmup_epochs=1, steps_per_epoch=steps)
