"""A small experiment for the tests of the training: nets of widths 4, 8 and 8, images and windows of 32 x 32."""

import signal

import pytest
from small_config import small_config

from unet_jax.data import pipeline
from unet_jax.training import loop


@pytest.fixture
def config(cache_dir):
    return small_config(cache_dir)


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
