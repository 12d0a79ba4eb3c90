"""Compares the memory that a training step is planned to take with what it takes, on this machine's CPU (Linux).

    python benchmarks/memory.py --config=default --config.data.patch='(256, 256)' --config.data.size='(256, 256)'
    python benchmarks/memory.py --config=default --config.model.remat='(0, 1)'

Planned is the peak of one device by `unet-jax plan`. Measured is the resident memory of the process at the peak of two steps
on one device, minus that before there is a state or a batch. The program is compiled before.
"""

import ctypes
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(key: str) -> int:
    """Returns resident bytes of this process: for `VmRSS` those of now, for `VmHWM` the most since `forget_peak`."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


def forget_peak() -> None:
    """Gives free memory back to the system and starts a new peak."""
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")


def measure(config: ConfigDict) -> tuple[int, int]:
    """Returns the bytes that one device's training step is planned to take, and those that it takes."""
    import jax

    from unet_jax.analysis.plan import compile, work
    from unet_jax.data.loading import train_pipeline
    from unet_jax.experiment.build import build_experiment, create_dataset
    from unet_jax.runtime import parallel
    from unet_jax.runtime.program_cost import Cost

    device = jax.local_devices()[:1]
    dataset = create_dataset(config)
    whole = work.create_work(config, dataset, device)
    lowered = compile.lower(whole.step, whole.state, whole.rows(whole.batch_size), device)
    program = parallel.compile_lowered(lowered, device[0].platform)
    parts = build_experiment(config)
    source = dataset.source("train")
    batches = train_pipeline.train_batches(
        source, batch_size=whole.batch_size, seed=config.seed, **parts.loading_options
    )
    batch = next(batches)
    # This compiles the program that creates a state.
    state = parts.create_state()
    jax.block_until_ready(state)
    del state
    forget_peak()
    before = resident("VmRSS")
    state = parallel.replicate(parts.create_state(), device)
    for _ in range(2):
        state, metrics = program(state, parallel.shard(batch, device))
        jax.block_until_ready((state, metrics))
    return Cost.of(program).peak, resident("VmHWM") - before


def main() -> None:
    """Measures and prints both numbers."""
    import jax

    if sys.platform != "linux" or jax.default_backend() != "cpu":
        raise UserError(
            f"the platform is {sys.platform} with {jax.default_backend()}, and this measures a CPU under Linux; set JAX_PLATFORMS=cpu"
        )
    planned, measured = measure(FLAGS.config)
    print(f"planned {planned / 2**20:,.0f} MiB, measured {measured / 2**20:,.0f} MiB ({planned / measured - 1:+.1%})")


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
