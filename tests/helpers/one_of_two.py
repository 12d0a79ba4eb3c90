"""One of the two processes of test_shared_workdir.py.

"first" trains and stops when the other process gets a signal. Then it continues, and the second process is killed in a step.
"again" is the restarted job, which runs to its end.
"""

import json
import os
import signal
from pathlib import Path

from unet_jax.runtime import cli, distributed

STOPPED_AT, KILLED_AT, LAST = 12, 17, 20


def small_run(cache: str):
    """20 steps, an evaluation after each 10, windows with unequally many valid pixels; a small program."""
    from helpers.small_config import small_config
    from unet_jax.configs import default

    config = small_config(cache)
    config.model = default.unet()
    config.model.widths = (4, 8)
    config.train.update({"num_steps": LAST, "eval_every": 10})
    # SGD does not enlarge rounding, as AdamW does.
    config.optim.update({"name": "sgd", "learning_rate": 0.05})
    config.augment.update(
        {"contrast": 0.0, "brightness": 0.0, "gamma": 0.0}
    )  # the rest draws by the row of the batch, too
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
        """Makes the usual batches, and sends process 1 a signal while it prepares that of step `at`."""

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

    seen["gathered"] = processes.gather((index, 2**40 + index, "é"))
    told = parallel.broadcast({"a": np.float32([-0.0, index + 1]), "b": np.int32(index)})
    seen["broadcast"] = [told["a"].tobytes().hex(), int(told["b"])]
    order = jax.pmap(lambda row: jax.lax.all_gather((row, jax.lax.axis_index("i")), "i"), axis_name="i", out_axes=None)
    rows, places = order(np.arange(2) + 2 * index)
    seen["order"] = [parallel.to_host(rows).tolist(), parallel.to_host(places).tolist()]

    train_pipeline.train_batches = signalled(
        signal.SIGTERM, STOPPED_AT - 1
    )  # looked at after the step that runs meanwhile
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
    cli.run(main, __doc__, arguments=("WORKDIR", "CACHE", "PART"), processes=True)
