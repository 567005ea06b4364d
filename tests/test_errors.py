"""Errors are one sentence: function, argument, accepted range, received value, remedy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from recipe_rows import REQUIRED

import saner_jax
from saner_jax import (
    alpha_warmup,
    average_directions,
    damp_shrunk,
    remove_orthogonal,
    rho_tied_to_learning_rate,
    sam,
    saner,
    scale_to_adaptive_radius,
    scale_to_linf_radius,
    subtract_trend,
)

PARAMS = {"a": np.ones(2, np.float32), "b": np.ones((1, 2), np.float32)}
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sam(-0.1), "scale_to_radius: rho must be a finite number, at least 0 .* -0.1"),
        (lambda: sam(NAN), "rho must be a finite number, at least 0 .* got nan"),
        (lambda: sam(INF), "rho must be a finite number, at least 0 .* got inf"),
        (lambda: sam(np.float32(-1)), "rho must be a finite number, at least 0"),
        (lambda: sam(np.array(-1.0)), "rho must be a finite number, at least 0"),
        (lambda: sam(jnp.ones(3)), r"rho must be a scalar, got an array of shape \(3,\).*vmap"),
        (lambda: scale_to_linf_radius(-1.0), "scale_to_linf_radius: rho must"),
        (lambda: scale_to_adaptive_radius(-1.0), "scale_to_adaptive_radius: rho must"),
        (lambda: scale_to_adaptive_radius(1.0, eta=-1.0), "scale_to_adaptive_radius: eta must"),
        (lambda: saner_jax.asam(1.0, scaled="biases"), 'must be "weights", "all".*got \'biases\''),
        (
            lambda: average_directions(1.5),
            "average_directions: decay must be between 0 and 1 .* 1.5",
        ),
        (lambda: subtract_trend(sigma=-1.0), "subtract_trend: sigma must"),
        (lambda: subtract_trend(decay=2.0), "subtract_trend: decay must be between 0 and 1"),
        (lambda: saner(0.1, alpha=1.01), "damp_shrunk: alpha must be between 0 and 1 .*SAM.* 1.01"),
        (lambda: saner(0.1, alpha=-0.5), "damp_shrunk: alpha must be between 0 and 1"),
        (lambda: remove_orthogonal(-0.5), "remove_orthogonal: alpha must"),
        (lambda: saner_jax.gsaner(0.1, gsam_alpha=-1.0), "gsaner: gsam_alpha must"),
        (lambda: saner_jax.vasso(0.1, theta=1.5), "vasso: theta must be between 0 and 1"),
        (lambda: alpha_warmup(2.0, warmup_epochs=1, steps_per_epoch=1), "alpha_warmup: alpha must"),
        (lambda: alpha_warmup(0.5, warmup_epochs=-1, steps_per_epoch=1), "warmup_epochs must"),
        (lambda: alpha_warmup(0.5, warmup_epochs=1, steps_per_epoch=0), "at least 1, got 0"),
        (
            lambda: rho_tied_to_learning_rate(lambda c: 0.1, 0.1, learning_rate_max=NAN),
            "learning_rate_max must be a finite number",
        ),
        (
            lambda: rho_tied_to_learning_rate(
                lambda c: 0.1, 0.1, learning_rate_max=0.1, learning_rate_min=0.2
            ),
            "learning_rate_max must not be below learning_rate_min, got 0.1 and 0.2",
        ),
    ],
)
def test_values_out_of_range_are_refused_at_build(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: sam("0.1"),
        lambda: sam(None),
        lambda: sam(True),
        lambda: sam([0.1]),
        lambda: sam(1j),
        lambda: damp_shrunk("half"),
        lambda: alpha_warmup(0.5, warmup_epochs=1, steps_per_epoch=1.5),
        lambda: rho_tied_to_learning_rate(0.1, 0.1, learning_rate_max=0.1),
    ],
)
def test_things_that_are_no_numbers_are_refused_at_build(build):
    with pytest.raises(TypeError, match="must be"):
        build()


def test_combine_stages_on_their_own_say_what_they_miss():
    for combine in (damp_shrunk(0.5), remove_orthogonal(0.5)):
        with pytest.raises(TypeError, match=r"keyword origin_grads.*combine stage"):
            combine.update(PARAMS, combine.init(PARAMS))


def test_the_adaptive_ball_needs_params():
    tx = scale_to_adaptive_radius(0.1)
    with pytest.raises(ValueError, match="needs params"):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"a": PARAMS["a"]}, r"updates must have the tree structure of params: .*no leaf \['b'\]"),
        ({**PARAMS, "c": PARAMS["a"]}, r"params has no leaf \['c'\]"),
        (list(PARAMS.values()), r"no leaf \['a'\]"),
        (
            {"a": np.ones(3, np.float32), "b": PARAMS["b"]},
            r"at \['a'\] expected \(2,\), got \(3,\)",
        ),
    ],
)
def test_gradients_that_do_not_match_are_refused(grads, message):
    tx = sam(0.1)
    with pytest.raises(ValueError, match=message):
        tx.update(grads, tx.init(PARAMS), PARAMS, grad_fn=lambda p: p)
    with pytest.raises(ValueError, match=message):
        saner_jax.perturbed_params(tx, grads, tx.init(PARAMS), PARAMS)


def test_a_grad_fn_that_returns_more_than_gradients_is_refused():
    tx = sam(0.1)
    with pytest.raises(ValueError, match=r"result of grad_fn.*without the value or auxiliary"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, grad_fn=lambda p: (1.0, p))


@pytest.mark.parametrize("dtype", [np.int32, np.complex64])
def test_gradients_that_are_not_real_floats_are_refused(dtype):
    tx, params = sam(0.1), np.ones(2, dtype)
    with pytest.raises(TypeError, match="real floating point: at the root the dtype is"):
        tx.update(params, tx.init(params), params, grad_fn=lambda p: p)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ({"a": True}, ValueError, "perturb_mask must be a pytree of bools"),
        ({"a": True, "b": [True, True]}, ValueError, "perturb_mask must be a pytree of bools"),
        ({"a": 1, "b": 0}, TypeError, r"must hold Python bools.*at \['a'\] it holds 1"),
        (lambda p: {"a": p["a"].sum() > 0, "b": True}, TypeError, "decided from names, shapes"),
    ],
    ids=["missing", "deeper", "integers", "values"],
)
def test_masks_that_do_not_fit_are_refused(mask, error, message):
    tx = sam(0.1, perturb_mask=mask)
    params = jax.tree.map(jnp.asarray, PARAMS)
    with pytest.raises(error, match=message):
        jax.jit(lambda p: tx.update(p, tx.init(p), p, grad_fn=lambda p: p))(params)


def test_nothing_raises_inside_a_compiled_step():
    # A schedule may leave the range that is required of numbers; the step still stays finite.
    tx = saner(lambda count: -1.0, alpha=lambda count: 7.0)
    grads = jnp.asarray([1.0, -2.0])
    updates, _ = jax.jit(lambda g: tx.update(g, tx.init(g), g, grad_fn=lambda w: w / 2))(grads)
    assert bool(jnp.all(jnp.isfinite(updates)))


W = jnp.ones(3)
slope = jax.grad(lambda w: jnp.sum(w**2))
BALL = saner_jax.scale_to_radius(0.1)


def step_of(tx, **extra):
    return tx.update(slope(W), tx.init(W), W, grad_fn=slope, **extra)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (
            lambda: saner_jax.sharpness_aware(0.1),
            "ascent must be an Optax tran.* got 0.1",
        ),
        (lambda: saner_jax.sharpness_aware(BALL, 0.1), "combine must be an Optax transformation"),
        (
            lambda: saner_jax.sharpness_aware(saner_jax.scale_to_radius),
            "first: scale_to_radius",
        ),
        (lambda: saner_jax.climb(0.1, 2), "climb: ascent must be an Optax transformation"),
        (lambda: saner_jax.per_group(sam), r"per_group: inside .* call it first: sam\(\.\.\.\)"),
        (lambda: saner_jax.per_group(sam(0.1), sam), "per_group: outside must be an Optax"),
        (lambda: saner_jax.per_device(sam, "data"), "per_device: recipe must be an Optax"),
        (
            lambda: saner_jax.perturbed_params(sam, W, (), W),
            "perturbed_params: tx must be",
        ),
        (lambda: saner_jax.value_and_update(sam, jnp.sum, W, ()), "value_and_update: tx must be"),
        (lambda: saner_jax.look_if(sam, saner_jax.every_steps(5)), "look_if: recipe must be"),
        (lambda: saner_jax.look_if(sam(0.1), 5), "look_if: policy must be a Policy, .* got 5"),
        (
            lambda: step_of(
                saner_jax.look_if(saner_jax.per_group(sam(0.1)), saner_jax.every_steps(2))
            ),
            "look_if: recipe must not hold per_group",
        ),
        (
            lambda: step_of(optax.inject_hyperparams(saner_jax.look_sam)(rho=0.1, period=5)),
            "period must be a whole number .* name it in static_args",
        ),
        (lambda: step_of(saner_jax.sharpness_aware(sam(0.1))), "ascent .* got a whole recipe"),
        (lambda: step_of(saner_jax.sharpness_aware(BALL, sam(0.1))), "combine .* a whole recipe"),
        (
            lambda: step_of(saner_jax.sharpness_aware(saner_jax.climb(sam(0.1), 2))),
            "ascent must be a part of a step, got a whole recipe",
        ),
        (
            lambda: step_of(saner_jax.sharpness_aware(BALL, optax.chain(optax.identity(), BALL))),
            "combine must return gradients, got a part that returns a perturbation",
        ),
        (
            lambda: saner_jax.per_group(sam(0.1), sam(0.1)).init(W),
            "per_group: outside must be a part of a step, got a whole recipe",
        ),
    ],
)
def test_a_part_in_the_wrong_place_is_refused(act, sentence):
    with pytest.raises(TypeError, match=sentence) as told:
        act()
    assert "\n" not in str(told.value)


def test_the_state_of_another_transformation_is_refused():
    one, chain = sam(0.1), optax.chain(sam(0.1), optax.sgd(0.1))
    others = [chain.init(W), saner_jax.vasso(0.1).init(W), sam(0.1, metrics=True).init(W), ()]
    for state in others:
        with pytest.raises(
            TypeError, match="state must be the one that init of this transformation"
        ):
            one.update(W, state, W, grad_fn=slope)
        with pytest.raises(
            TypeError, match="state must be the one that init of this transformation"
        ):
            saner_jax.perturbed_params(one, W, state, W)


def test_a_compiled_step_is_exported_without_a_private_import():
    tx = saner_jax.look_sam(0.1, metrics=True)
    update = jax.jit(lambda g, s, p: tx.update(g, s, p, perturbed_grads=g, looked=True))
    exported = jax.export.export(update)(W, tx.init(W), W)
    restored = jax.export.deserialize(exported.serialize())
    jax.tree.map(
        np.testing.assert_array_equal,
        restored.call(W, tx.init(W), W),
        update(W, tx.init(W), W),
    )


@pytest.mark.parametrize("name", saner_jax.RECIPES)
def test_every_state_can_be_written(name):
    tx = saner_jax.RECIPES[name](rho=0.1, metrics=True, **REQUIRED.get(name, {}))
    same = jax.jit(lambda state: state)
    exported = jax.export.export(same)(tx.init(W))
    assert jax.export.deserialize(exported.serialize()).in_tree == exported.in_tree


@pytest.mark.slow
def test_a_process_that_uses_nothing_else_reads_every_state_after_importing_recipes(tmp_path):
    for name, recipe in saner_jax.RECIPES.items():
        tx = recipe(rho=0.1, metrics=True, **REQUIRED.get(name, {}))
        exported = jax.export.export(jax.jit(lambda state: state))(tx.init(W))
        (tmp_path / name).write_bytes(exported.serialize())
    script = (
        "import jax, pathlib, saner_jax.recipes\n"
        "for file in sorted(pathlib.Path().iterdir()):\n"
        "    jax.export.deserialize(file.read_bytes())\n"
        "    print(file)\n"
    )
    command = [sys.executable, "-c", script]
    read = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert read.split() == sorted(saner_jax.RECIPES)
