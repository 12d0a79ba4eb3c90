"""Runs of one config in one process share a training step, which is then traced and compiled once.

Not for tests that change a part of the step, such as a loss: its description would be the same.
"""

import functools

from unet_jax.experiment.build import Experiment
from unet_jax.runtime import parallel

_create_step, _pmap_step, _steps = Experiment.create_step, parallel.pmap_step, {}


def share_steps(patch):
    """Makes equal experiments share their step until `patch` is undone."""
    patch.setattr(Experiment, "create_step", _shared_step)
    patch.setattr(
        parallel, "pmap_step", lambda step, devices=None: _mapped(step, tuple(parallel.local_devices(devices)))
    )


def _shared_step(experiment):
    sections, durations = experiment.sections, experiment.durations
    # What `create_step` reads, and the config that it was built from.
    described = repr(
        (
            *(sections.loss, sections.optim, experiment.module, experiment.step_options, experiment.class_weights),
            *(durations.num_steps, durations.warmup_steps, durations.boundaries),
        )
    )
    if described not in _steps:
        _steps[described] = _create_step(experiment)
    return _steps[described]


# Bounded, because programs hold memory.
@functools.lru_cache(maxsize=16)
def _mapped(step, devices):
    return _pmap_step(step, devices)
