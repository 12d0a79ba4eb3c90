"""Compiles the training step for TPUs that are not there, with the project's convolution and with the plain one.

    pip install -c requirements.txt -e '.[tpu]'
    python benchmarks/ahead_of_time.py --model=unet_pp --topology=v5e:2x2

Prints, for one chip, the FLOPs and the bytes moved by XLA's count, and the memory held, of both programs, and ends with
status 1 if the project's has more FLOPs or moves more bytes: the form of the weight gradient that CPUs get
(unet_jax/models/conv.py) must cost other devices nothing. Needs no TPU; a step takes minutes to compile.
"""

import sys
from pathlib import Path
from unittest import mock

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script has its own folder there, not the project's

from unet_jax.analysis.plan.environment import expect_no_tpu
from unet_jax.plotting.text_table import format_table
from unet_jax.runtime import cli
from unet_jax.runtime.program_cost import Cost


def define_flags() -> None:
    flags.DEFINE_enum("model", "unet_pp", ["unet", "unet_pp"], "The network, widths 32 to 512.")
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "Of the computation.")
    flags.DEFINE_integer("batch", 4, "Images a chip.", lower_bound=1)
    flags.DEFINE_integer("size", 96, "Height and width of an image in pixels.", lower_bound=1)
    flags.DEFINE_string("topology", "v5e:2x2", "Kind and arrangement of the chips.")


def main() -> None:
    expect_no_tpu()
    values = flags.FLAGS
    ours = cost(values)
    # None stands for flax's convolution.
    with mock.patch("unet_jax.models.blocks.conv_general_dilated", None):
        plain = cost(values)
    print(
        f"{values.model} {values.dtype}, {values.batch} images of {values.size} x {values.size} a chip, {values.topology}"
    )
    rows = [("", "GFLOP", "GB moved", "GB held")]
    for name, program in (("project", ours), ("plain", plain)):
        rows.append((name, f"{program.flops / 1e9:.2f}", f"{program.moved / 1e9:.3f}", f"{program.peak / 1e9:.3f}"))
    print(format_table(rows))
    if ours.flops > plain.flops or ours.moved > plain.moved:
        sys.exit(1)


def cost(values) -> Cost:
    """Compiles a training step for the topology; returns what one chip has to do."""
    import jax

    from benchmarks import work
    from unet_jax.analysis.plan.compile import lower
    from unet_jax.analysis.plan.devices import tpu_chips

    body, state = work.create_step(values.model, size=values.size, dtype=values.dtype)
    shapes = jax.eval_shape(lambda: (state, work.create_examples(values.batch, values.size)))
    return Cost.of(lower(body, *shapes, tpu_chips(values.topology)).compile())


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
