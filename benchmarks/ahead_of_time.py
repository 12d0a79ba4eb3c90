"""Compiles the training step for TPUs that this machine does not have, with the project's convolution and with flax's.

    pip install -c requirements.txt -e '.[tpu]'
    python benchmarks/ahead_of_time.py --model=unet_pp --topology=v5e:2x2

Prints, for one chip, the FLOPs and the bytes moved as XLA counts them, and the memory held, of both programs. Ends with
status 1 if the project's program has more FLOPs or moves more bytes. The weight gradient has a special form for CPUs
(unet_jax/models/conv.py), which must not cost other devices anything. Needs no TPU. Compiling a step takes minutes.
"""

import sys
from pathlib import Path
from unittest import mock

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.analysis.plan.environment import expect_no_tpu
from unet_jax.plotting.text_table import format_table
from unet_jax.runtime import cli
from unet_jax.runtime.program_cost import Cost

FLAGS = flags.FlagValues()
flags.DEFINE_enum("model", "unet_pp", ["unet", "unet_pp"], "The network, with widths 32 to 512.", flag_values=FLAGS)
flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "The type of the computation.", flag_values=FLAGS)
flags.DEFINE_integer("batch", 4, "Images on a chip.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("size", 96, "Height and width of an image in pixels.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("topology", "v5e:2x2", "Generation and arrangement of the chips.", flag_values=FLAGS)


def main() -> None:
    """Compiles both programs and prints what they cost."""
    expect_no_tpu()
    ours = cost(FLAGS)
    # With None the blocks use flax's convolution.
    with mock.patch("unet_jax.models.blocks.conv_general_dilated", None):
        plain = cost(FLAGS)
    print(f"{FLAGS.model} {FLAGS.dtype}, {FLAGS.batch} images of {FLAGS.size} x {FLAGS.size} a chip, {FLAGS.topology}")
    rows = [("", "GFLOP", "GB moved", "GB held")]
    for name, program in (("project", ours), ("flax", plain)):
        rows.append((name, f"{program.flops / 1e9:.2f}", f"{program.moved / 1e9:.3f}", f"{program.peak / 1e9:.3f}"))
    print(format_table(rows))
    if ours.flops > plain.flops or ours.moved > plain.moved:
        sys.exit(1)


def cost(values: flags.FlagValues) -> Cost:
    """Compiles a training step for the topology of the flags; returns the cost of one chip."""
    import jax

    from benchmarks import work
    from unet_jax.analysis.plan.compile import lower
    from unet_jax.analysis.plan.devices import tpu_chips

    body, state = work.create_step(values.model, size=values.size, dtype=values.dtype)
    shapes = jax.eval_shape(lambda: (state, work.create_examples(values.batch, values.size)))
    return Cost.of(lower(body, *shapes, tpu_chips(values.topology)).compile())


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
