"""Measures how far training on several devices departs from training on one, after some steps of the same batches.

    python benchmarks/devices.py --config=default --starts=10
    python benchmarks/devices.py --config=smoke --config.model.widths='(2, 3)' --devices=1,2,4,8

On a CPU the devices are simulated. Each start has other weights and other batches. Augmentation and dropout follow the
config's seed and are the same in every start. The step is compiled as training compiles it.

Prints the median and the largest over the starts of: the largest difference of a weight; the norm of the difference of all
weights as a fraction of the distance trained; the relative difference of the last step's loss.

Sums over devices are taken in another order, which alone moves a weight by about 1e-7. But a value may lie so near to 0
that rounding decides its sign. Then ReLU passes its gradient on one number of devices and not on the other, and Adam divides
by the size of a gradient, however small. From then on the two runs differ by more.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.errors import UserError
from unet_jax.plotting.text_table import format_table
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
flags.DEFINE_list("devices", ["1", "2", "4"], "Numbers of devices; all are compared with the first.", flag_values=FLAGS)
flags.DEFINE_integer(
    "starts", 10, "Number of starts; each has another seed for weights and batches.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer("steps", 20, "Steps of each start.", lower_bound=1, flag_values=FLAGS)

WITHIN = 2e-5


def measure(
    config: ConfigDict, counts: Sequence[int], starts: int, num_steps: int
) -> dict[int, list[tuple[float, float, float]]]:
    """Trains on each number of devices and compares the results with those of the first number.

    Args:
      config: the config.
      counts: numbers of devices.
      starts: how many starts.
      num_steps: steps of each start.

    Returns:
      The three differences of each start, by number of devices, without the first number.

    Raises:
      UserError: there are fewer devices than one of `counts`.
    """
    import jax
    import jax.numpy as jnp
    import optax

    from unet_jax.data.loading import train_pipeline
    from unet_jax.experiment.build import build_experiment
    from unet_jax.runtime import parallel

    if max(counts) > jax.local_device_count():
        raise UserError(f"--devices={max(counts)}: there are {jax.local_device_count()} devices; give no larger number")
    devices = {n: jax.local_devices()[:n] for n in counts}
    for some in devices.values():
        parallel.check_batch_size(config.train.batch_size, some)
    parts = build_experiment(config, devices[max(counts)])
    p_steps, differences = {}, {n: [] for n in counts[1:]}
    for seed in range(starts):
        state = dataclasses.replace(parts, step_options={**parts.step_options, "seed": seed}).create_state()
        read = {"batch_size": config.train.batch_size, "seed": seed, **parts.loading_options}
        batches = train_pipeline.train_batches(parts.dataset.source("train"), **read)
        states, metrics = {n: parallel.replicate(state, some) for n, some in devices.items()}, {}
        for _, batch in zip(range(num_steps), batches, strict=False):
            for n, some in devices.items():
                rows = parallel.shard(batch, some)
                if n not in p_steps:
                    p_steps[n] = parallel.compile_step(parallel.pmap_step(parts.create_step(), some), states[n], rows)
                states[n], metrics[n] = jax.block_until_ready(p_steps[n](states[n], rows))
        batches.close()
        ends = {n: parallel.to_host((states[n].params, metrics[n]["loss"])) for n in counts}
        params, loss = ends[counts[0]]
        distance = optax.tree.norm(optax.tree.sub(params, state.params))
        for n in counts[1:]:
            apart = optax.tree.sub(ends[n][0], params)
            furthest = float(optax.tree.norm(apart, ord=jnp.inf))
            differences[n].append(
                (furthest, float(optax.tree.norm(apart) / distance), abs(float(ends[n][1] / loss) - 1))
            )
            print(
                f"start {seed}, {n} devices: " + ", ".join(f"{value:.1e}" for value in differences[n][-1]), flush=True
            )
    return differences


def table(differences: dict[int, list[tuple[float, float, float]]], first: int) -> str:
    """Returns the table of `measure`'s differences: a row for each number of devices; `first` is the number compared with."""
    rows = [("devices", "a weight", "of the distance", "loss, relative", f"all weights within {WITHIN:.0e}")]
    for n, by_start in differences.items():
        columns = [f"{np.median(values):.1e} to {np.max(values):.1e}" for values in zip(*by_start, strict=True)]
        within = sum(weights <= WITHIN for weights, *_ in by_start)
        rows.append((str(n), *columns, f"{within} of {len(by_start)} starts"))
    return f"compared with {first}: median to largest\n{format_table(rows, left=(4,))}"


def main() -> None:
    """Measures and prints the table."""
    import jax

    given = FLAGS.devices
    counts = [int(n) for n in given if n.isdecimal() and int(n) > 0]
    if len(counts) < 2 or len(set(counts)) < len(given):
        raise UserError(f"--devices={','.join(given)}: give two or more different numbers, e.g. 1,2,4")
    jax.config.update("jax_num_cpu_devices", max(counts))
    print(table(measure(FLAGS.config, counts, FLAGS.starts, FLAGS.steps), counts[0]))


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
