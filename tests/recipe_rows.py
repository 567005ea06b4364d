"""Which rows of the recipe table a quick test run takes: one of each kind of part."""

from collections.abc import Iterable

import pytest

QUICK = {"sam", "saner", "vasso_saner"}


def each_recipe(names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise by recipe; the rows outside QUICK are slow tests."""
    rows = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("name", rows)
