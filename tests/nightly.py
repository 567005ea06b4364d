"""The number of repetitions of a test: small by default, larger in `make nightly`."""

import os

NIGHTLY = os.environ.get("SANER_JAX_NIGHTLY") == "1"


def times(quick: int, nightly: int) -> int:
    """Return the number of repetitions."""
    return nightly if NIGHTLY else quick
