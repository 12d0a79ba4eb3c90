"""Measures the seconds that a training step takes, for every network of a data set, in turn.

    python benchmarks/step_seconds.py --data=electrodes
    python benchmarks/step_seconds.py --data=battery_xray --folder=FOLDER
    python benchmarks/step_seconds.py --data=nuclei --folder=FOLDER --networks=unet,unet_elastic,unet_no_augmentation --turns=20

A step does what the training loop does: read a batch, run the step, fetch its metrics. It is compiled before, in the config's
batch size and windows. The networks take turns, A B C A B C, so that a drift of the machine's speed affects all equally. The
result is the median and the middle half of the seconds, and of the ratio to the first network in the same turn. Logging,
evaluation and saving are not included. Needs a quiet machine.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rows
from unet_jax.errors import UserError
from unet_jax.runtime import cli
from unet_jax.storage import json_file

FLAGS = flags.FlagValues()
flags.DEFINE_enum("data", None, list(rows.DATA), "The data set.", flag_values=FLAGS)
flags.DEFINE_string("folder", "", "The folder of the data set, if it has one.", flag_values=FLAGS)
flags.DEFINE_list(
    "networks",
    [],
    "The networks to time, by their names in benchmarks/rows.py. Default: all but those of TIMED.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "turns", 5, "Number of turns; a turn is three steps of each network.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_string("out", "", "A JSON file to write the result to.", flag_values=FLAGS)

STEPS_A_TURN, WARM_UP = 3, 2


class Stepper:
    """Runs the training steps of one config, one at a time.

    Args:
      config: the config; building it prepares its data and compiles its step.
    """

    def __init__(self, config: ConfigDict) -> None:
        from unet_jax.data.loading import train_pipeline
        from unet_jax.experiment.build import build_experiment
        from unet_jax.runtime import parallel
        from unet_jax.training.state import count_parameters

        self._parallel = parallel
        parts = build_experiment(config)
        dataset = parts.dataset
        state = parts.create_state()
        self.parameters = count_parameters(state.params)
        body = parts.create_step()
        self._batches = train_pipeline.train_batches(
            dataset.source("train"), batch_size=config.train.batch_size, seed=config.seed, **parts.loading_options
        )
        self._state = parallel.replicate(state)
        batch = parallel.shard(next(self._batches))
        self._p_step = parallel.compile_step(parallel.pmap_step(body), self._state, batch)

    def seconds(self) -> tuple[float, float]:
        """Runs one more step; returns its seconds, and how many of them it waited for its batch."""
        begin = time.perf_counter()
        batch = self._parallel.shard(next(self._batches))
        waited = time.perf_counter() - begin
        self._state, metrics = self._p_step(self._state, batch)
        self._parallel.to_host(metrics)
        return time.perf_counter() - begin, waited


def measure(configs: Mapping[str, ConfigDict], num_turns: int = 5) -> dict[str, dict[str, Any]]:
    """Measures the training steps of several configs in turn.

    Args:
      configs: the configs by name.
      num_turns: how many turns of `STEPS_A_TURN` steps each config takes.

    Returns:
      By name: `seconds_per_step` (the median of the seconds), their `quartiles` (lower, median, upper), the quartiles of the
      `ratio` to the first config in the same turn, `waiting` (the fraction of the time that was spent waiting for data),
      and `parameters`.
    """
    steppers = {}
    for name, config in configs.items():
        print(f"compiling {name} ...", flush=True)
        steppers[name] = Stepper(config)
        for _ in range(WARM_UP):
            steppers[name].seconds()
    times = {name: [] for name in steppers}
    for _ in range(num_turns):
        for name, stepper in steppers.items():
            times[name].append(tuple(zip(*[stepper.seconds() for _ in range(STEPS_A_TURN)], strict=True)))
    turns = {name: [sum(steps) for steps, _ in taken] for name, taken in times.items()}
    first = next(iter(turns.values()))
    return {
        name: {
            "seconds_per_step": statistics.median(step for steps, _ in taken for step in steps),
            "quartiles": _quartiles([step for steps, _ in taken for step in steps]),
            "ratio": _quartiles([turn / firsts for turn, firsts in zip(turns[name], first, strict=True)]),
            "waiting": sum(sum(waits) for _, waits in taken) / sum(turns[name]),
            "parameters": steppers[name].parameters,
        }
        for name, taken in times.items()
    }


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    return tuple(statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else (values[0],) * 3


def main() -> None:
    """Measures the networks that the flags choose and prints the result."""
    if FLAGS.data is None:
        raise UserError(f"--data is missing; give --data=NAME, one of {', '.join(rows.DATA)}")
    known = rows.EXPERIMENTS[FLAGS.data] | rows.TIMED.get(FLAGS.data, {})
    names = FLAGS.networks or list(rows.EXPERIMENTS[FLAGS.data])
    for name in names:
        if name not in known:
            raise UserError(f"--networks={name}: {FLAGS.data} has no such network; the networks are {', '.join(known)}")
    measured = measure({name: rows.create_config(FLAGS.data, name, FLAGS.folder) for name in names}, FLAGS.turns)
    for name, result in measured.items():
        low, seconds, high = result["quartiles"]
        lower, ratio, upper = result["ratio"]
        print(
            f"{name}: {seconds:.4f} s a step ({low:.4f} to {high:.4f}), {ratio:.3f} ({lower:.3f} to {upper:.3f}) of "
            f"{names[0]}'s, {result['waiting']:.2%} waiting for data, {result['parameters']:,} parameters"
        )
    if FLAGS.out:
        json_file.write(FLAGS.out, measured, indent=1)


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
