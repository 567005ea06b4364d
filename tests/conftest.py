"""Settings of the whole suite: strict dtypes, eight CPU devices, warnings as errors."""

import functools
import gc

import hypothesis
import jax
import pytest
from nightly import NIGHTLY

# No deadline: the duration of an example depends on the load of the machine.
hypothesis.settings.register_profile(
    "undisturbed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# For `make nightly`: different examples in each run.
hypothesis.settings.register_profile(
    "nightly", hypothesis.settings.get_profile("undisturbed"), max_examples=1000
)
hypothesis.settings.load_profile("nightly" if NIGHTLY else "undisturbed")

# Set before the first use of a device. Wait for each step with collectives: jax 0.10
# deadlocks when several of them wait for eight threads of two cores.
jax.config.update("jax_num_cpu_devices", 8)
# Implicit promotion of dtypes or ranks is an error.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


# Scripts that tests start, or check, as users' own; importing one trains.
collect_ignore_glob = ["scripts/*"]

# Doctests that compile a model, or a program per group, are too slow for `make check`.
SLOW_DOCTESTS = (
    "models.",
    "training.",
    "label_errors._judge.",
    "label_errors._neighbors.",
    "step._per_group.",
    "objectives._clean_split.",
    "objectives._mixture.",
    "data._augmentation.",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark slow doctests before pytest selects tests by their marks."""
    for item in items:
        is_doctest = isinstance(item, pytest.DoctestItem)
        if is_doctest and item.name.removeprefix("saner_jax.").startswith(SLOW_DOCTESTS):
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Report the number of examples of each property, for benchmarks/it_survives_faults.py."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None:
        return (yield)
    inner, tried = handle.inner_test, []

    @functools.wraps(inner)
    def counted(*arguments, **options):
        tried.append(None)
        return inner(*arguments, **options)

    handle.inner_test = counted
    try:
        return (yield)
    finally:
        handle.inner_test = inner
        item.user_properties.append(("examples", len(tried)))


def pytest_collection_finish():
    """Let the garbage collector pass over the thousands of tests, which stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture
def standard_promotion():
    """Relax promotion for Optax wrappers that do not run under the strict rule."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def without_xla_optimizations():
    """Compile as written, so that equal sums of two programs round alike."""
    yield from xla_optimizations(disabled=True)


@pytest.fixture
def with_xla_optimizations():
    """Optimize for tests that run a large net longer than they compile it."""
    yield from xla_optimizations(disabled=False)


def xla_optimizations(*, disabled):
    name = "jax_disable_most_optimizations"
    was = jax.config.read(name)
    jax.config.update(name, disabled)
    yield
    jax.config.update(name, was)
