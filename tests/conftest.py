"""Sets up all tests. They run on four fake CPU devices, so that `pmap` really splits; warnings and rank promotion are errors.

The compiler's optimisations are off, also in programs that tests start: most run a few steps, and compile much longer.
"""

import os

# If a flag is given twice, the last one counts, so the caller's $XLA_FLAGS take precedence.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {os.environ.get('XLA_FLAGS', '')}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import signal

import jax
import pytest
from helpers.image_folders import Folder
from helpers.shared_steps import share_steps
from helpers.small_config import small_config

from unet_jax.runtime import roofline

jax.config.update("jax_numpy_rank_promotion", "raise")
# Each run is compared with a matrix product several times. A large one takes longer than these runs do.
roofline.STEP_PRODUCT["cpu"] = (256, 1)

# The files that take longest, because they train, start programs, or compile whole networks. They run first, so that no
# worker is left alone with one of them at the end. `make test-fast` leaves them out.
LONGEST = (
    "test_loop",
    "test_page_blocks",
    "test_step",
    "test_certify",
    "test_shared_workdir",
    "test_add",
    "test_wheel",
    "test_imports",
    "test_verify_resume",
    "test_cli",
    "test_bucket",
    "test_pixels",
    "test_blocks",
    "test_full_strength",
    "test_spatial",
    "test_plan",
    "test_encoders",
    "test_fcn",
    "test_wiring",
    "test_gradients",
    "test_micro_batches",
    "test_every_network",
    "test_augment",
    "test_skips",
    "test_prune",
    "test_tracking_a_run",
    "test_intensity",
    "test_layers",
    "test_check",
    "test_fc_densenet",
    "test_devices",
    "test_warm_start",
    "test_step_seconds",
    "test_score",
    "test_replay",
    "test_pretrained",
    "test_quick_errors",
)


def pytest_collection_modifyitems(items):
    """Puts the longest files first. pytest-xdist keeps this order (--no-loadscope-reorder in pyproject.toml)."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
    for item in items:
        if item.path.stem in place:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Returns a data cache for this run of the tests, so that no test reads or writes the user's cache."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory, worker_id):
    """Shares compiled programs between tests, workers, and the programs that tests start; only for this run of the tests."""
    base = tmp_path_factory.getbasetemp()
    for name, value in (
        ("jax_compilation_cache_dir", str((base if worker_id == "master" else base.parent) / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.1),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture
def shared_steps(monkeypatch):
    """Makes runs of one config share a compiled step; see `helpers/shared_steps.py`."""
    share_steps(monkeypatch)


@pytest.fixture
def config(cache_dir):
    """Returns a small experiment: a network of widths 4, 8 and 8; images and windows of 32 x 32 pixels."""
    return small_config(cache_dir)


@pytest.fixture(scope="session")
def trained(cache_dir, tmp_path_factory):
    """Trains without an interruption; returns the workdir, and what `train_and_evaluate` returned."""
    from unet_jax.runs import loop

    workdir = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        share_steps(patch)
        return workdir, loop.train_and_evaluate(small_config(cache_dir), workdir)


@pytest.fixture(scope="session", params=[3, 5], ids=["at an evaluation", "between"])
def interrupted(request, cache_dir, tmp_path_factory):
    """Trains the same run until a real SIGINT comes while step 3 or 5 is prepared; returns the workdir."""
    from unet_jax.data.loading import train_pipeline
    from unet_jax.runs import loop
    from unet_jax.runs.stop_signal import Interrupted

    workdir = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        share_steps(patch)
        patch.setattr(train_pipeline, "train_batches", _signalling(train_pipeline.train_batches, at=request.param))
        with pytest.raises(Interrupted, match=rf"step {request.param}\b"):
            loop.train_and_evaluate(small_config(cache_dir), workdir)
    return workdir


def _signalling(train_batches, at):
    def batches(*args, **kwargs):
        for step, batch in enumerate(train_batches(*args, **kwargs), 1):
            if step == at:
                signal.raise_signal(signal.SIGINT)
            yield batch

    return batches


@pytest.fixture
def folder(tmp_path):
    """Returns a folder of images and masks that the test fills."""
    return Folder(tmp_path)
