"""The rows of the recipe table, as the laws see them."""

from collections.abc import Iterable

import jax.numpy as jnp
import pytest

# One of each kind of part; the other rows are slow tests, and those of methods that are simple
# products of well-tested parts long ones.
QUICK = {"saner", "vasso_saner"}
LONG = {"wsam", "stable_sam", "zsharp", "sparse_sam", "sam_only", "sam_without"}

# What makes a recipe plain SAM: its strengths at zero (theta weights the new gradient, so its zero
# is 1; no parameter scaled means the plain ball). None where nothing does.
AS_SAM = {
    "sam": {},
    "asam": {"scaled": False},
    "gsam": {"alpha": 0.0},
    "friendly_sam": {"sigma": 0.0},
    "vasso": {"theta": 1.0},
    "saner": {"alpha": 0.0},
    "asaner": {"alpha": 0.0, "scaled": False},
    "gsaner": {"alpha": 0.0, "gsam_alpha": 0.0},
    "friendly_saner": {"alpha": 0.0, "sigma": 0.0},
    "vasso_saner": {"alpha": 0.0, "theta": 1.0},
    "wsam": {"gamma": 0.5},
    "stable_sam": None,
    "zsharp": {"quantile": 0.0},
    "sparse_sam": {"sparsity": 0.0},
    "sam_only": {"group": lambda g, _: jnp.full(g.shape, True)},
    "sam_without": {"group": lambda g, _: jnp.full(g.shape, False)},
}

# Arguments that are no strengths: neither schedules nor traced values.
STATIC = {"scaled", "group"}


def each_recipe(names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrize by recipe; the rows outside QUICK are slow tests, those in LONG long ones."""

    def marks(name: str) -> list[pytest.MarkDecorator]:
        if name in QUICK:
            return []
        return [pytest.mark.slow, pytest.mark.long] if name in LONG else [pytest.mark.slow]

    rows = [pytest.param(name, marks=marks(name)) for name in names]
    return pytest.mark.parametrize("name", rows)
