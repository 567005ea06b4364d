"""How much is tried: little by default, much more in `make nightly`."""

import os

NIGHTLY = os.environ.get("SANER_JAX_NIGHTLY") == "1"


def times(quick: int, nightly: int) -> int:
    """Return how often to try something."""
    return nightly if NIGHTLY else quick
