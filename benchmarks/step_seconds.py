"""Seconds that a training step takes, of every network of a data set, measured in turn.

    python benchmarks/step_seconds.py --data=electrodes
    python benchmarks/step_seconds.py --data=battery_xray --folder=FOLDER

A step is what the training loop does: read a batch, run the step, fetch its metrics; compiled before, in the config's
batch size and windows. The networks take turns, A B C A B C, so that a drift of the machine's speed meets all alike; the
median over all turns counts. Logging, evaluation and saving are no part of it. Needs a quiet machine.
"""

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script has its own folder there, not the project's

from benchmarks import rows
from unet_jax import cli
from unet_jax.errors import UserError

flags.DEFINE_enum("data", None, list(rows.DATA), "The data set.")
flags.DEFINE_string("folder", "", "Its folder, where it is one.")
flags.DEFINE_string("out", "", "A JSON file for the result.")

NUM_TURNS, STEPS_A_TURN, WARM_UP = 5, 3, 2


class Stepper:
    """The training steps of one config, one at a time."""

    def __init__(self, config: ConfigDict):
        from unet_jax import parallel
        from unet_jax.data import pipeline
        from unet_jax.training import experiment
        from unet_jax.training.state import count_parameters

        self._parallel = parallel
        parts = experiment.create(config)
        dataset = parts.dataset
        state = parts.create_state()
        self.parameters = count_parameters(state.params)
        body = parts.create_step()
        self._batches = pipeline.train_batches(
            dataset.source("train"), batch_size=config.train.batch_size, seed=config.seed, **parts.reading
        )
        self._state = parallel.replicate(state)
        batch = parallel.shard(next(self._batches))
        self._p_step = parallel.compile_step(parallel.pmap_step(body), self._state, batch)

    def seconds(self) -> float:
        """Of one more step."""
        begin = time.perf_counter()
        batch = self._parallel.shard(next(self._batches))
        self._state, metrics = self._p_step(self._state, batch)
        self._parallel.to_host(metrics)
        return time.perf_counter() - begin


def measure(configs: Mapping[str, ConfigDict]) -> dict[str, dict[str, float]]:
    """`seconds_per_step` (the median) and `parameters` of each config, by its name."""
    steppers = {}
    for name, config in configs.items():
        print(f"compiling {name} ...", flush=True)
        steppers[name] = Stepper(config)
        for _ in range(WARM_UP):
            steppers[name].seconds()
    times = {name: [] for name in steppers}
    for _ in range(NUM_TURNS):
        for name, stepper in steppers.items():
            times[name] += [stepper.seconds() for _ in range(STEPS_A_TURN)]
    return {
        name: {"seconds_per_step": statistics.median(times[name]), "parameters": stepper.parameters}
        for name, stepper in steppers.items()
    }


def main() -> None:
    values = flags.FLAGS
    if values.data is None:
        raise UserError(f"--data is missing; give one of {', '.join(rows.DATA)}")
    configs = {name: rows.create_config(values.data, name, values.folder) for name in rows.EXPERIMENTS[values.data]}
    measured = measure(configs)
    for name, found in measured.items():
        print(f"{name}: {found['seconds_per_step']:.4f} s a step, {found['parameters']:,} parameters")
    if values.out:
        Path(values.out).write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    cli.run(main, __doc__)
