"""One of the two processes of test_shared_workdir.py.

PART "first" trains, stops where a signal reaches process 1, and goes on until process 1 is killed in a step. PART "again" is
the restarted job: it trains to the end.
"""

import json
import os
import signal
from pathlib import Path

from absl import flags

from unet_jax.runtime import cli, distributed

STOPPED_AT, KILLED_AT, LAST = 12, 17, 20


def small_run(cache: str):
    """Returns the config of 20 steps with two evaluations, a small network, and windows with few or many valid pixels."""
    from helpers.small_config import small_config
    from unet_jax.configs import default

    config = small_config(cache)
    config.model = default.unet()
    config.model.widths = (4, 8)
    config.train.update({"num_steps": LAST, "eval_every": 10})
    # SGD does not enlarge differences of rounding, as AdamW does.
    config.optim.update({"name": "sgd", "learning_rate": 0.05})
    config.augment.update({"contrast": 0.0, "brightness": 0.0, "gamma": 0.0})
    config.augment.update({"rotate": 45.0, "fill_mode": "void"})
    config.eval.pad_multiple = 32
    return config


def main(workdir: str, cache: str, part: str) -> None:
    import jax
    import numpy as np

    from unet_jax.data.loading import train_pipeline
    from unet_jax.errors import UserError
    from unet_jax.runs import loop
    from unet_jax.runs.stop_signal import Interrupted
    from unet_jax.runtime import parallel, processes

    index, seen, config, train_batches = jax.process_index(), {}, small_run(cache), train_pipeline.train_batches

    def write() -> None:
        Path(f"{workdir}.{part}.{index}.json").write_text(json.dumps(seen))

    def signalled(number: int, at: int):
        """Returns a `train_batches` in which process 1 gets a signal while it prepares the batch of step `at`."""

        def batches(*args, start_step, **kwargs):
            for step, batch in enumerate(train_batches(*args, start_step=start_step, **kwargs), start_step + 1):
                if index == 1 and step == at:
                    os.kill(os.getpid(), number)
                yield batch

        return batches

    if part == "again":
        seen["summary"] = loop.train_and_evaluate(config, workdir)
        write()
        return

    seen["gathered"] = processes.gather([index, 2**40 + index, "é"])
    received = parallel.broadcast({"a": np.float32([-0.0, index + 1]), "b": np.int32(index)})
    seen["broadcast"] = [received["a"].tobytes().hex(), int(received["b"])]
    order = jax.pmap(lambda row: jax.lax.all_gather((row, jax.lax.axis_index("i")), "i"), axis_name="i", out_axes=None)
    rows, places = order(np.arange(2) + 2 * index)
    seen["order"] = [parallel.to_host(rows).tolist(), parallel.to_host(places).tolist()]

    # The signal is noticed after the step that runs meanwhile.
    train_pipeline.train_batches = signalled(signal.SIGTERM, STOPPED_AT - 1)
    try:
        loop.train_and_evaluate(config, workdir)
    except Interrupted as stopped:
        seen["stopped"] = str(stopped)

    other = config.copy_and_resolve_references()
    other.seed = 1
    try:
        loop.train_and_evaluate(other, workdir)
    except UserError as error:
        seen["refused"] = str(error)
    write()
    train_pipeline.train_batches = signalled(signal.SIGKILL, KILLED_AT)
    loop.train_and_evaluate(config, workdir)


if __name__ == "__main__":
    # The test waits for it.
    distributed.HEARTBEAT_S = 10
    values = flags.FlagValues()
    cli.define_job(values)
    cli.run(main, __doc__, values, arguments=("WORKDIR", "CACHE", "PART"))
