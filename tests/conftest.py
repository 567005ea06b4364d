"""Settings of the whole suite: strict types, eight CPU devices, warnings as errors."""

import hypothesis
import jax
import pytest

# How long an example takes tells how busy the machine is.
hypothesis.settings.register_profile(
    "undisturbed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("undisturbed")

# Before the first use of a device. Steps with collectives must be waited for one by one: jax 0.10
# deadlocks when several of them wait for eight threads of two cores.
jax.config.update("jax_num_cpu_devices", 8)
# Nothing is promoted or broadcast by accident.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def standard_promotion():
    """Relax promotion for Optax wrappers that do not run under the strict rule."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
