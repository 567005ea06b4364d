"""The rows of the recipe table, as the laws see them."""

from collections.abc import Iterable

import pytest

# One of each kind of part; the other rows are slow tests.
QUICK = {"sam", "saner", "vasso_saner"}

# What makes a recipe plain SAM: its strengths at zero (theta weights the new gradient, so its zero
# is 1; no parameter scaled means the plain ball).
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
}


def each_recipe(names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise by recipe; the rows outside QUICK are slow tests."""
    rows = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("name", rows)
