"""Times a training step or a forward pass, in turn with a peer that does the same work on the same machine.

    python benchmarks/step.py --model=unet_pp --mode=train
    python benchmarks/step.py --model=unet_pp --mode=train --json --peer="PYTHON PEER.py"

The work: 4 images of 96 x 96 x 3, three classes, widths 32 to 512, BatchNorm, cross entropy, Adam. The computation is float32,
or bfloat16 with --dtype; weights stay float32. --peer is a command that takes --model --mode --batch --size --dtype --repeats
and ends its output with a line of JSON that has "median_s". A --level above 0 is also passed on.

Peer and project take turns, A B A B, for --rounds rounds. A turn is --repeats steps, of which the median is used. The
speed of a machine drifts, so only times of one round are compared. The result is the median of these ratios (project
over peer; below 1 the project is faster). A matrix product on all devices is timed in every round. The project's FLOPs
a second divided by those of the product are its matmul utilization. --json prints the result as one last line.
"""

import json
import statistics
import sys
from pathlib import Path

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns
from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_enum("model", "unet_pp", ["unet", "unet_pp"], "The network.", flag_values=FLAGS)
flags.DEFINE_enum("mode", "train", ["train", "predict"], "A training step, or a forward pass.", flag_values=FLAGS)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "The type of the computation.", flag_values=FLAGS)
flags.DEFINE_integer("batch", 4, "Images in a step.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("size", 96, "Height and width of an image in pixels.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer(
    "level", 0, "For unet_pp: only the nodes of levels 1 to this one; 0 means all four.", 0, 4, flag_values=FLAGS
)
flags.DEFINE_integer("rounds", 5, "Number of rounds.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("repeats", 8, "Steps in a turn.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("peer", "", "The peer's command; without it the project is timed alone.", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "Print the result as a last line of JSON.", flag_values=FLAGS)


WARM_UP = 2


def main() -> None:
    """Times project and peer and prints the result."""
    # Imported here because --help needs no jax.
    from benchmarks import work
    from unet_jax.tracking.meter import peak_memory

    if FLAGS.level and FLAGS.model != "unet_pp":
        raise UserError(f"--level={FLAGS.level}: {FLAGS.model} has no levels; leave it out, or give --model=unet_pp")
    what = work.create_work(
        FLAGS.model, FLAGS.mode, batch=FLAGS.batch, size=FLAGS.size, dtype=FLAGS.dtype, level=FLAGS.level
    )
    matmul = work.create_matmul(FLAGS.dtype)
    for _ in range(WARM_UP):
        what.run()
        matmul.run()
    rounds = []
    for number in range(1, FLAGS.rounds + 1):
        peer_s = turns.run_peer(FLAGS.peer, peer_arguments(FLAGS))["median_s"] if FLAGS.peer else None
        project_s = statistics.median(what.seconds() for _ in range(FLAGS.repeats))
        matmul_s = statistics.median(matmul.seconds() for _ in range(FLAGS.repeats))
        utilization = what.gflop / project_s / (matmul.gflop / matmul_s)
        rounds.append({"peer_s": peer_s, "project_s": project_s, "utilization": utilization})
        print(turns.describe_round(number, project_s, peer_s), flush=True)
    result = turns.compare(rounds) | {
        "matmul_utilization": round(statistics.median(r["utilization"] for r in rounds), 3),
        "model": FLAGS.model,
        "mode": FLAGS.mode,
        "dtype": FLAGS.dtype,
        "gflop": round(what.gflop, 1),
        "compile_s": round(what.compile_s, 1),
        "temporary_gb": round(what.temporary_gb, 3),
        "peak_memory_gb": round(peak_memory() / 1e9, 2),
    }
    for line in describe(result):
        print(line)
    if FLAGS.json:
        print(json.dumps(result))


def peer_arguments(values: flags.FlagValues) -> dict:
    """Returns the flags that the peer takes, by name."""
    names = ("model", "mode", "batch", "size", "dtype", "repeats", *(("level",) if values.level else ()))
    return {name: values[name].value for name in names}


def describe(result: dict) -> list[str]:
    """Returns the lines that describe the result."""
    return [
        f"{result['model']} {result['mode']} {result['dtype']}: {result['project_s']:.4f} s, {result['gflop']} GFLOP, "
        f"{result['matmul_utilization']:.0%} of the matrix product's speed",
        f"compiled in {result['compile_s']} s; {result['temporary_gb']} GB of temporaries, peak memory {result['peak_memory_gb']} GB",
        *turns.describe_ratio(result),
    ]


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
