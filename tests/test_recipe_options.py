"""The strengths and the radius of a recipe, as the command line sets them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax.cli import main
from saner_jax.combine import is_grown
from saner_jax.experiments import CompareConfig, TrainConfig, build_optimizer
from saner_jax.recipes import RECIPES
from saner_jax.step import alpha_warmup

PLAIN = {
    "rho": 0.3,
    "learning_rate": 1.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
}


def path(tx, num_steps=6):
    """Descend a loss that is no quadratic, and return the parameters after every step."""
    loss = lambda w: jnp.sum(jnp.cosh(w * jnp.array([1.0, 2.0, 0.5]))) / 8
    params, kept = jnp.array([1.0, -0.5, 2.0]), []
    state = tx.init(params)
    for _ in range(num_steps):
        grad_fn = jax.grad(loss)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        params = params + updates
        kept.append(params)
    return np.asarray(kept)


def built(method, *, epochs=3, steps_per_epoch=2, **options):
    config = TrainConfig.of(**(PLAIN | options))
    return build_optimizer(
        method,
        config.perturbation,
        config.optimizer,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )


def descending(recipe):
    return optax.chain(recipe, optax.scale(-1.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "given", "arguments"),
    [
        ("gsam", ("alpha=0.4",), {"alpha": 0.4}),
        ("look_sam", ("period=2", "alpha=0.3"), {"period": 2, "alpha": 0.3}),
        ("look_sam", ("look_sam:period=2", "gsam:alpha=0.9"), {"period": 2}),
        ("sparse_sam", ("sparsity=0.7",), {"sparsity": 0.7}),
        ("asam", ("eta=0.2", "scaled=all"), {"eta": 0.2, "scaled": "all"}),
        ("sam_only", ("group=is_grown",), {"group": is_grown}),
    ],
)
def test_a_recipe_takes_its_own_strengths(method, given, arguments):
    wanted = path(descending(RECIPES[method](0.3, **arguments)))
    np.testing.assert_array_equal(path(built(method, method_option=given).tx), wanted)
    assert not np.array_equal(path(built(method).tx), wanted)


def test_saner_keeps_its_alpha_and_takes_the_others_strength():
    tx = built("gsaner", method_option=("gsam_alpha=0.5",), alpha=0.7, alpha_warmup_fraction=0.5).tx
    alpha = alpha_warmup(0.7, warmup_epochs=1.5, steps_per_epoch=2)
    wanted = path(descending(RECIPES["gsaner"](0.3, alpha, 0.5)))
    np.testing.assert_array_equal(path(tx), wanted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--methods sgd --method-option a=1", "'a=1' sets no strength: sgd has none"),
        ("--methods gsam --method-option alpha", "method_option must be name=value, got 'alpha'"),
        ("--methods gsam --method-option sam:rho=1", "gsam has alpha"),
        ("--methods saner --method-option alpha=1", "sets no strength: saner has none"),
        ("--methods gsam --method-option alpha=-1", "method_option of gsam: "),
        ("--methods look_sam --method-option period=1.5", "'period=1.5' must be a whole number"),
        ("--methods gsam --method-option alpha=x", "'alpha=x' must be a number"),
        ("--methods sam_only --method-option group=b", "must be one of is_grown"),
        ("--methods asam --method-option scaled=b", "method_option of asam: "),
    ],
)
def test_a_strength_that_no_method_has_is_refused(arguments, words, capsys):
    assert main(["compare", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert not out


def radii(**options):
    """Return the radius of each of 20 updates, as the log has it."""
    rho = built("sam", epochs=10, steps_per_epoch=2, **options).rho
    return np.array([float(rho(step)) if callable(rho) else rho for step in range(20)])


def test_the_radius_is_constant_unless_told():
    assert built("sam").rho == 0.3


def test_the_radius_rises_linearly():
    np.testing.assert_allclose(
        radii(rho_warmup_fraction=0.5), 0.3 * np.minimum(np.arange(20) / 10, 1), rtol=1e-6
    )


@pytest.mark.parametrize("warmup_epochs", [0.0, 2.0])
def test_the_radius_follows_the_learning_rate(warmup_epochs):
    options = {"schedule": "cosine", "learning_rate": 0.1, "warmup_epochs": warmup_epochs}
    rate = built("sam", epochs=10, steps_per_epoch=2, **options).learning_rate
    wanted = 0.3 * np.array([float(rate(step)) for step in range(20)]) / 0.1
    tied = radii(rho_schedule="tied_to_learning_rate", **options)
    np.testing.assert_allclose(tied, wanted, rtol=1e-5, atol=1e-7)
    rising = radii(rho_schedule="tied_to_learning_rate", rho_warmup_fraction=0.5, **options)
    np.testing.assert_allclose(rising, wanted * np.minimum(np.arange(20) / 10, 1), atol=1e-7)


def test_the_radius_of_the_step_is_that_of_the_log():
    options = {"rho_schedule": "tied_to_learning_rate", "schedule": "cosine"}
    ours = built("sam", **options)
    base = optax.scale_by_learning_rate(ours.learning_rate)
    np.testing.assert_array_equal(path(ours.tx), path(optax.chain(RECIPES["sam"](ours.rho), base)))


def test_a_comparison_names_the_strengths_of_one_method():
    config = CompareConfig.of(methods=("sgd", "gsam"), method_option=("gsam:alpha=0.4",))
    optimizer = build_optimizer(
        "sgd", config.perturbation, config.optimizer, epochs=1, steps_per_epoch=1
    )
    assert optimizer.rho == 0.0
