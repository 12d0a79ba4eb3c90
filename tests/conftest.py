"""Every test runs on four fake CPU devices, so that `pmap` is always real; a warning or a rank promotion is an error."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """A data cache of the test run's own: no test reads or writes the user's."""
    return str(tmp_path_factory.mktemp("cache"))
