"""Compiles the training step for TPUs that are not there, with the project's convolution and with the plain one.

    pip install -c requirements.txt -e '.[tpu]'
    python benchmarks/ahead_of_time.py --model=unet_pp --topology=v5e:2x2

Prints, for one chip, the FLOPs and the bytes moved by XLA's count, and the memory held, of both programs, and ends with
status 1 if the project's has more FLOPs or moves more bytes: the form of the weight gradient that CPUs get
(unet_jax/models/conv.py) must cost other devices nothing. Needs no TPU; a step takes minutes to compile.
"""

import os
import sys
from pathlib import Path
from unittest import mock

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script has its own folder there, not the project's

from unet_jax import cli
from unet_jax.errors import UserError


def define_flags() -> None:
    flags.DEFINE_enum("model", "unet_pp", ["unet", "unet_pp"], "The network, widths 32 to 512.")
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "Of the computation.")
    flags.DEFINE_integer("batch", 4, "Images a chip.", lower_bound=1)
    flags.DEFINE_integer("size", 96, "Height and width of an image in pixels.", lower_bound=1)
    flags.DEFINE_string("topology", "v5e:2x2", "Kind and arrangement of the chips.")


def main() -> None:
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU to ask
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    values = flags.FLAGS
    ours = costs(values)
    with mock.patch("unet_jax.models.blocks.conv_general_dilated", None):  # flax's own
        plain = costs(values)
    print(
        f"{values.model} {values.dtype}, {values.batch} images of {values.size} x {values.size} a chip, {values.topology}"
    )
    print(f"{'':10}{'GFLOP':>10}{'GB moved':>10}{'GB held':>10}")
    for name, cost in (("project", ours), ("plain", plain)):
        print(f"{name:10}{cost['flops'] / 1e9:10.2f}{cost['bytes'] / 1e9:10.3f}{cost['held'] / 1e9:10.3f}")
    if ours["flops"] > plain["flops"] or ours["bytes"] > plain["bytes"]:
        sys.exit(1)


def costs(values) -> dict[str, float]:
    """FLOPs, bytes moved and bytes held by one chip in a training step, compiled for the topology."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from benchmarks import work
    from unet_jax.parallel import AXIS

    try:
        grid = values.topology.partition(":")[2]
        bounds = tuple(int(n) for n in grid.split("x"))
        chips = topologies.get_topology_desc(
            values.topology,
            platform="tpu",
            chips_per_host_bounds=(*bounds, *(1,) * (3 - len(bounds))),
            num_slices=1,
        ).devices
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--topology={values.topology}: {reason}; give a kind and a grid such as v5e:2x2, and install the extra tpu"
        ) from error
    mesh = Mesh(chips, (AXIS,))
    body, state = work.create_step(values.model, size=values.size, dtype=values.dtype)
    examples = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, work.create_examples(values.batch, values.size)))
    shape = len(chips) * values.batch

    def placed(tree, spec, leading=None):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((leading, *x.shape[1:]) if leading else x.shape, x.dtype, sharding=sharding),
            tree,
        )

    step = jax.shard_map(
        body,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=(PartitionSpec(), PartitionSpec()),
        check_vma=False,
    )
    lowered = jax.jit(step, donate_argnums=0).lower(
        placed(state, PartitionSpec()), placed(examples, PartitionSpec(AXIS), shape)
    )
    program = lowered.compile()
    cost, memory = program.cost_analysis(), program.memory_analysis()
    held = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    return {"flops": cost["flops"], "bytes": cost["bytes accessed"], "held": held}


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
