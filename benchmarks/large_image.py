"""Predicts a large image in bounded memory, in turn with a peer, and compares the result with one pass of the whole image.

    python benchmarks/large_image.py --model=unet_pp --size=4096 --memory=1GiB --json
    python benchmarks/large_image.py --model=unet_pp --size=2048 --memory=2GiB --json \\
        --peer="PEER/bin/python benchmarks/peers/sliding_window.py --roi=512 --overlap=0.25"

The networks are those of the peer, `peers/sliding_window.py`, whose first lines say how to make its environment: one channel,
three classes, widths 32 to 512, BatchNorm, one head. No bias, scale, mean or variance is 0 or 1. The computation is float32
and runs on one device. --peer is a command that takes --model and --size and ends its output with a line of JSON that has
"median_s". Peer and project take turns, as in step.py.

--json prints the result as one last line:

    median_s             seconds of one image, median over the rounds; nothing is compiled in them
    work                 FLOPs of one prediction divided by those of one pass of the whole image, both as XLA counts them
    peak_memory_gb       most resident memory of the process after all rounds, `ru_maxrss / 2**20`: it holds Python, JAX, the
                         image and the probabilities. Start the benchmark from a shell: Linux counts the memory of the process
                         that starts it, too
    largest_difference   the largest difference of a probability to one pass of the whole image with the network as it was
                         trained, without folded BatchNorm; `compared` says with what: "whole", or, where the whole does not
                         fit into the memory, "regions": four corners and the centre, 512 x 512 pixels, each computed from a
                         part of the image that has all pixels which it reads
    peer                 the last line of the peer's last turn
"""

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns
from unet_jax.runtime import cli

if TYPE_CHECKING:
    import numpy as np

    from unet_jax.inference.predictor import Predictor

FLAGS = flags.FlagValues()
flags.DEFINE_enum("model", "unet_pp", ["unet", "unet_pp"], "The network.", flag_values=FLAGS)
flags.DEFINE_integer("size", 2048, "Height and width of the image in pixels.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("memory", "2GiB", "Memory that the prediction may add to the process.", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "Number of rounds.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("peer", "", "The peer's command; without it the project is timed alone.", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "Print the result as a last line of JSON.", flag_values=FLAGS)

WIDTHS = (32, 64, 128, 256, 512)
CLASSES = ("background", "anode", "cathode")
# The side of a region in pixels.
REGION = 512
# Kernels of a CPU use scratch memory that the compiler's plan leaves out: up to this many times the plan in all.
SCRATCH = 1.5


def main() -> None:
    """Predicts the image, compares it, and prints the result."""
    # Imported here because --help needs no jax.
    import numpy as np

    from unet_jax.tracking.meter import peak_memory

    predictor = create_predictor(FLAGS.model, WIDTHS, memory=FLAGS.memory)
    image = np.random.default_rng(0).random((FLAGS.size, FLAGS.size), np.float32)
    # This run compiles. It is the one whose work is counted.
    with counted_flops() as flops:
        probabilities = predict(predictor, image)
    rounds, line = [], None
    for number in range(1, FLAGS.rounds + 1):
        line = turns.run_peer(FLAGS.peer, {"model": FLAGS.model, "size": FLAGS.size}) if FLAGS.peer else None
        # Two results at a time would count as memory of the prediction.
        del probabilities
        begin = time.perf_counter()
        probabilities = predict(predictor, image)
        rounds.append({"project_s": time.perf_counter() - begin, "peer_s": line and line["median_s"]})
        print(turns.describe_round(number, **rounds[-1]), flush=True)
    peak_memory_gb = peak_memory() / 2**30
    compared, difference = compare(predictor, image, probabilities)
    times = turns.compare(rounds)
    result = {
        "model": FLAGS.model,
        "size": FLAGS.size,
        "memory": FLAGS.memory,
        "median_s": times.pop("project_s"),
        **times,
        "work": round(sum(flops) / whole_flops(predictor, image.shape), 4),
        "peak_memory_gb": round(peak_memory_gb, 3),
        "largest_difference": difference,
        "compared": compared,
        "peer": line,
    }
    for text in describe(result):
        print(text)
    if FLAGS.json:
        print(json.dumps(result))


def create_predictor(model: str, widths: tuple[int, ...], **options: Any) -> "Predictor":
    """Returns a predictor on one device, with random variables; pixels are taken as they are."""
    import jax

    from unet_jax import models
    from unet_jax.analysis.certify.check import random_variables
    from unet_jax.inference.predictor import Predictor

    network = models.build(model, num_classes=len(CLASSES), widths=widths, norm="batch")
    variables = random_variables(network, 1, network.multiple)
    return Predictor(network, variables, CLASSES, normalize="range", devices=jax.local_devices()[:1], **options)


def predict(predictor: "Predictor", image: "np.ndarray") -> "np.ndarray":
    """Returns the probabilities of an image `[H, W]`, float32 `[H, W, K]`."""
    return predictor.predict_images([image])[0]


@contextlib.contextmanager
def counted_flops() -> Iterator[list[float]]:
    """Yields a list that gets the FLOPs of every compiled program that runs inside the context, by XLA's count."""
    import jax

    from unet_jax.runtime.program_cost import count_operations

    flops: list[float] = []
    call: Any = jax.stages.Compiled.__call__

    @functools.wraps(call)
    def count(program, *args, **kwargs):
        flops.append(count_operations(program).flops)
        return call(program, *args, **kwargs)

    jax.stages.Compiled.__call__ = count
    try:
        yield flops
    finally:
        jax.stages.Compiled.__call__ = call


def whole_flops(predictor: "Predictor", size: tuple[int, int]) -> float:
    """Returns the FLOPs of one pass of a whole image of this (height, width), by XLA's count. Nothing is compiled."""
    import jax

    from unet_jax.models.fold_batch_norm import fold_batch_norm
    from unet_jax.runtime.program_cost import count_operations

    # The network that a prediction runs.
    network, variables = fold_batch_norm(predictor.network, predictor.variables)
    image = jax.ShapeDtypeStruct((1, *predictor.padded_size(*size), predictor.channels), "float32")
    return count_operations(jax.jit(one_pass(network)).lower(variables, image)).flops


def one_pass(network: Any) -> Callable:
    """Returns the function `(variables, images [1, h, w, C]) -> probabilities [1, h, w, K]` of a network."""
    from unet_jax.inference.forward import forward

    return lambda variables, images: forward(network, "accurate", variables, {"image": images})


def compare(predictor: "Predictor", image: "np.ndarray", probabilities: "np.ndarray") -> tuple[str, float]:
    """Compares probabilities with one pass of the whole image or, where it does not fit into the memory, of regions.

    Args:
      predictor: the network.
      image: `[H, W]`.
      probabilities: what was predicted, `[H, W, K]`.

    Returns:
      "whole" or "regions", and the largest difference.
    """
    import jax
    import numpy as np

    from unet_jax.inference.program import SCRATCH
    from unet_jax.models.receptive_field import trace
    from unet_jax.runtime.out_of_memory import check_fits

    prepared = predictor.prepare(image)[None]
    run = jax.jit(one_pass(predictor.network))
    height, width = image.shape
    compiled = run.lower(predictor.variables, prepared).compile()
    with contextlib.suppress(MemoryError):
        check_fits(compiled, predictor.devices, scale=SCRATCH)
        whole = np.asarray(compiled(predictor.variables, prepared))[0, :height, :width]
        return "whole", float(np.abs(whole - probabilities).max())
    del compiled
    difference = 0.0
    graph = trace(predictor.network)
    for rows, columns, top, left in regions(height, width, REGION, graph.halo, graph.multiple):
        part = np.asarray(run(predictor.variables, prepared[:, rows, columns]))[0]
        part = part[top : top + REGION, left : left + REGION]
        first = rows.start + top, columns.start + left
        predicted = probabilities[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]]
        difference = max(difference, float(np.abs(part[: len(predicted), : predicted.shape[1]] - predicted).max()))
    return "regions", difference


def regions(height: int, width: int, side: int, halo: int, multiple: int) -> list[tuple[slice, slice, int, int]]:
    """Returns for four corners and the centre of an image the part of the image that the region reads.

    Args:
      height: of the image in pixels.
      width: of the image in pixels.
      side: height and width of a region in pixels.
      halo: the distance in pixels from which a region reads.
      multiple: a part begins at a multiple of it, so that the network pools the same pixels as in the whole image.

    Returns:
      By region: the rows and the columns of the part, and the row and the column of the region inside the part.
    """

    def along(size, start):
        begin = max(start - halo, 0) // multiple * multiple
        return slice(begin, start + side + halo), start - begin

    places = [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]
    parts = []
    for y, x in places:
        rows, top = along(height, int(y * max(height - side, 0)))
        columns, left = along(width, int(x * max(width - side, 0)))
        parts.append((rows, columns, top, left))
    return parts


def describe(result: dict) -> list[str]:
    """Returns the lines that describe the result."""
    return [
        f"{result['model']} {result['size']} x {result['size']}, memory {result['memory']}: {result['median_s']:.2f} s, "
        f"{result['work']:.3f} passes of the whole, peak memory {result['peak_memory_gb']} GiB",
        f"largest difference of a probability to one pass ({result['compared']}): {result['largest_difference']:.1e}",
        *turns.describe_ratio(result),
    ]


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
