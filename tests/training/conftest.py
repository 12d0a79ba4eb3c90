"""A small experiment for the tests of the training: nets of widths 4, 8 and 8, images and windows of 32 x 32."""

import signal

import jax
import pytest

from configs import default
from unet_jax.data import pipeline
from unet_jax.training import loop


def small_config(cache_dir):
    """`configs/default.py`, made small: 6 steps, an evaluation after each 3."""
    config = default.get_config()
    config.model.widths = (4, 8, 8)
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    config.train.update({"batch_size": 4, "num_steps": 6, "log_every": 2, "eval_every": 3})
    config.eval.update({"batch_size": 4, "num_pictures": 2})
    config.optim.warmup_steps = 2
    return config


@pytest.fixture
def config(cache_dir):
    return small_config(cache_dir)


@pytest.fixture
def quick_compile():
    """The compiler does not optimise: for runs of few steps, which compile far longer than they train."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def trained(cache_dir, tmp_path_factory):
    """The workdir of a run that was never interrupted, and what `train_and_evaluate` returned."""
    workdir = tmp_path_factory.mktemp("trained")
    return workdir, loop.train_and_evaluate(small_config(cache_dir), workdir)


@pytest.fixture(scope="session", params=[3, 5], ids=["at an evaluation", "between"])
def interrupted(request, cache_dir, tmp_path_factory):
    """The workdir of the same run, told to stop by a real SIGINT while step 3 or 5 is prepared."""
    workdir = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "train_batches", _signalling(pipeline.train_batches, at=request.param))
        with pytest.raises(loop.Interrupted, match=f"stopped at step {request.param} of 6"):
            loop.train_and_evaluate(small_config(cache_dir), workdir)
    return workdir


def _signalling(train_batches, at):
    def batches(*args, **kwargs):
        for step, batch in enumerate(train_batches(*args, **kwargs), 1):
            if step == at:
                signal.raise_signal(signal.SIGINT)
            yield batch

    return batches
