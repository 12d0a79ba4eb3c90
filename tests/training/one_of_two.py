"""One of the two processes of test_together.py: trains, stops when the other is told to, goes on, scores, and is left alone."""

import json
import os
import signal
from pathlib import Path

from unet_jax import cli, cluster

STOPPED_AT = 4


def small_run(cache: str):
    """6 steps, an evaluation after each 3; a small program."""
    from small_config import small_config

    from configs import default

    config = small_config(cache)
    config.model = default.unet()
    config.model.widths = (4, 8)
    config.augment.update(
        {"contrast": 0.0, "brightness": 0.0, "gamma": 0.0}
    )  # the rest draws by the row of the batch, too
    config.eval.bucket = 32
    return config


def main(workdir: str, cache: str) -> None:
    import jax
    import numpy as np

    from unet_jax import parallel
    from unet_jax.data import pipeline
    from unet_jax.errors import UserError
    from unet_jax.training import loop

    index, seen = jax.process_index(), {}
    seen["gathered"] = parallel.gather((index, 2**40 + index, "é"))
    told = parallel.broadcast({"a": np.float32([-0.0, index + 1]), "b": np.int32(index)})
    seen["broadcast"] = [told["a"].tobytes().hex(), int(told["b"])]
    order = jax.pmap(lambda row: jax.lax.all_gather((row, jax.lax.axis_index("i")), "i"), axis_name="i", out_axes=None)
    rows, places = order(np.arange(2) + 2 * index)
    seen["order"] = [parallel.to_host(rows).tolist(), parallel.to_host(places).tolist()]

    config, train_batches = small_run(cache), pipeline.train_batches

    def told_to_stop(*args, **kwargs):
        for step, batch in enumerate(train_batches(*args, **kwargs), 1):
            if index == 1 and step == STOPPED_AT - 1:
                signal.raise_signal(signal.SIGTERM)  # of process 1 alone, while it prepares the step before
            yield batch

    pipeline.train_batches = told_to_stop
    try:
        loop.train_and_evaluate(config, workdir)
    except loop.Interrupted as stopped:
        seen["stopped"] = str(stopped)
    pipeline.train_batches = train_batches

    other = config.copy_and_resolve_references()
    other.seed = 1
    try:
        loop.train_and_evaluate(other, workdir)
    except UserError as error:
        seen["refused"] = str(error)
    seen["summary"] = loop.train_and_evaluate(config, workdir)
    Path(f"{workdir}.{index}.json").write_text(json.dumps(seen))
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    parallel.barrier("the other does not come")


if __name__ == "__main__":
    cluster.HEARTBEAT_S = 10  # the test waits for it
    cli.run(main, __doc__, arguments=("WORKDIR", "CACHE"), processes=True)
