"""Every test runs on four fake CPU devices, so that `pmap` is always real; a warning or a rank promotion is an error."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 " + os.environ.get(
    "XLA_FLAGS", ""
)  # the last one counts
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """A data cache of the test run's own: no test reads or writes the user's."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory, worker_id):
    """Tests that compile the same program share it, over the workers of this test run too; nothing outlives the run."""
    base = tmp_path_factory.getbasetemp()
    jax.config.update("jax_compilation_cache_dir", str((base if worker_id == "master" else base.parent) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
