"""The rows of the recipe table, as the laws see them."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
import pytest

from saner_jax import RECIPES

# Arguments without a default.
REQUIRED = {"ae_sam": {"num_steps": 40}, "ncsam": {"kappa": 0.3}}

# Recipes that skip second passes. A test that records where the second pass is, or that compares
# steps with and without it, passes looked=True.
SKIPPING = {"look_sam", "ae_sam"}

# What makes a recipe plain SAM: its strengths at zero (theta weights the new gradient, so its zero
# is 1; no parameter scaled means the plain ball), or a second pass on every step.
AS_SAM = {
    "sam": {},
    "asam": {"scaled": False},
    "gsam": {"alpha": 0.0},
    "friendly_sam": {"sigma": 0.0},
    "vasso": {"theta": 1.0},
    "wsam": {"gamma": 0.5},
    "stable_sam": {},
    "zsharp": {"quantile": 0.0},
    "sparse_sam": {"sparsity": 0.0},
    "saner": {"alpha": 0.0},
    "asaner": {"alpha": 0.0, "scaled": False},
    "gsaner": {"alpha": 0.0, "gsam_alpha": 0.0},
    "friendly_saner": {"alpha": 0.0, "sigma": 0.0},
    "vasso_saner": {"alpha": 0.0, "theta": 1.0},
    "sam_only": {"group": lambda g, _: jnp.full(g.shape, True)},
    "sam_without": {"group": lambda g, _: jnp.full(g.shape, False)},
    "look_sam": {"alpha": 0.0, "period": 1},
    "ae_sam": {"first": -1e9, "last": -1e9},
    "ncsam": {"kappa": 0.0},
}

# Arguments that are no strengths: neither schedules nor traced values.
STATIC = {"scaled", "group", "period", "num_steps", "first", "last"}


def make(name: str, rho: Any, **given: Any) -> optax.GradientTransformationExtraArgs:
    """Return a recipe of a radius, with what it requires and what is given."""
    return RECIPES[name](rho, **{**REQUIRED.get(name, {}), **given})


# Laws that a recipe breaks, by the name of their test, with the reason. The law is not required of
# these recipes; `exceptions_among` gives the rows of a test that they do break it.
EXCEPTIONS = {
    "test_every_strength_zero_is_sam_bitwise": {
        "stable_sam": "It has no strength: its gradient always has the length of the origin one.",
    },
    "test_every_scheduled_strength_zero_is_sam_bitwise": {
        "stable_sam": "It has no strength: its gradient always has the length of the origin one.",
    },
    "test_a_non_finite_gradient_perturbs_nothing": {
        "vasso": "It perturbs along its average, which leaves out the non-finite coordinates.",
        "vasso_saner": "It perturbs along its average, which leaves out the non-finite ones.",
    },
    "test_the_perturbation_has_length_rho_over_the_selected_parameters": {
        "asam": "Its radius is relative to the size of the parameters.",
        "asaner": "Its radius is relative to the size of the parameters.",
        "sparse_sam": "It drops coordinates after it has scaled the perturbation to the radius.",
    },
    "test_nesting_does_not_matter": {
        "zsharp": "It scores every coordinate against the others of the same tensor.",
    },
}


def each_recipe(law: Callable[..., None]) -> Callable[..., None]:
    """Parametrize a law by the names of all recipes but its exceptions."""
    excepted = EXCEPTIONS.get(law.__name__, {})
    names = [name for name in RECIPES if name not in excepted]
    return pytest.mark.parametrize("name", names)(law)


def exceptions_among(laws: dict[str, Any]) -> pytest.MarkDecorator:
    """Parametrize by (law, name of a recipe that breaks it), of the laws of a module."""
    rows = [
        pytest.param(laws[law], name, id=f"{law}-{name}")
        for law, names in EXCEPTIONS.items()
        if law in laws
        for name in names
    ]
    return pytest.mark.parametrize(("law", "name"), rows)
