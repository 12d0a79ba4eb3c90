"""Times U-Net++ pruned to each level, in turn, and compares the times with the FLOPs.

    python benchmarks/levels.py

The work is a forward pass of 4 images of 96 x 96 x 3, widths 32 to 512, as in step.py. For each level: seconds (median over
all rounds), GFLOP, how many times faster than level 4 it is, how many times fewer FLOPs it has, and the quotient of the two,
which is 1 where pruning saves as much time as work. The paper's speed-ups are 3.5, 2.4 and 1.5 (DLMIA 2018, figure 3).
"""

import statistics
import sys
from pathlib import Path

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.plotting.text_table import format_table
from unet_jax.runtime import cli
from unet_jax.runtime.program_cost import in_turns

FLAGS = flags.FlagValues()
flags.DEFINE_integer("batch", 4, "Images in a pass.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("size", 96, "Height and width of an image in pixels.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "The type of the computation.", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 15, "Number of turns; each level runs once a turn.", lower_bound=1, flag_values=FLAGS)


LEVELS = (1, 2, 3, 4)


def main() -> None:
    """Times the levels and prints the table."""
    from benchmarks.work import create_work

    works = {
        level: create_work("unet_pp", "predict", batch=FLAGS.batch, size=FLAGS.size, dtype=FLAGS.dtype, level=level)
        for level in LEVELS
    }
    times = in_turns({level: lambda _, what=what: what.run() for level, what in works.items()}, FLAGS.rounds)
    seconds = {level: statistics.median(times[level]) for level in LEVELS}
    print(table(seconds, {level: work.gflop for level, work in works.items()}))


def table(seconds: dict[int, float], gflop: dict[int, float]) -> str:
    """Returns the table: a row for each level, with its seconds and GFLOP."""
    deepest = max(seconds)
    rows = [("level", "seconds", "GFLOP", "faster", "fewer FLOPs", "quotient")]
    for level in seconds:
        faster, fewer = seconds[deepest] / seconds[level], gflop[deepest] / gflop[level]
        ratios = (f"{faster:.2f}x", f"{fewer:.2f}x", f"{faster / fewer:.2f}")
        rows.append((f"L{level}", f"{seconds[level]:.4f}", f"{gflop[level]:.2f}", *ratios))
    return format_table(rows)


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
