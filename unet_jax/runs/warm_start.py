"""A run that starts from another run's network: `train.init_from`."""

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.runs.workdir import load_config, resolve
from unet_jax.training.state import TrainState

REMEDY = (
    "give the options of config.model in that run's config.json and data of as many classes and channels, or leave "
    "train.init_from empty"
)


def initialize_from(state: TrainState, tx: optax.GradientTransformation, workdir: str) -> tuple[TrainState, dict]:
    """The state of step 0 with the parameters of another run's best checkpoint, wherever the names are the same.

    The running statistics of BatchNorm come along; the optimiser starts afresh. Of a run that is used with the moving average
    of its weights (`eval.weights`), it is the average. What that run has not stays as it was
    initialised, and its names are printed. Neither its data nor its code need to be there.

    Args:
      state: as initialised.
      tx: the optimiser.
      workdir: of the run to start from.

    Returns:
      The state, and where it comes from, for the record: workdir and step.

    Raises:
      UserError: no run or no checkpoint is there, no parameter has a name of this network's, one has another shape, or
        the checkpoint is damaged.
    """
    workdir = resolve(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"train.init_from={workdir} has no checkpoints, so no run is there; give the workdir of a run")
    own = flatten_dict({"params": state.params, "batch_stats": state.batch_stats}, sep="/")
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of("best")
        average = (workdir / "config.json").exists() and load_config(workdir).eval.weights == "ema"
        prefix = "ema/" * average
        there = {name.removeprefix(prefix) for name in checkpointer.leaf_names(step) if name.startswith(prefix)}
        common = {name: leaf for name, leaf in own.items() if name in there}
        if not any(name.startswith("params/") for name in common):
            raise UserError(
                f"train.init_from={workdir}: that network and this one have no parameter of the same name "
                f"({_modules(there)} there, {_modules(own)} here); start from a run of this kind of network"
            )
        like = unflatten_dict({prefix + name: leaf for name, leaf in common.items()}, sep="/")
        restored = checkpointer.restore(step, like, misfit=REMEDY)
        restored = restored["ema"] if average else restored
    restored = jax.tree.map(jnp.asarray, flatten_dict(restored, sep="/"))
    variables = unflatten_dict(own | restored, sep="/")
    missing = sorted(name.removeprefix("params/") for name in own.keys() - common.keys())
    print(
        f"starting from step {step} of {workdir}: "
        + (f"all but {', '.join(missing)}, which stay as initialised" if missing else "every parameter")
    )
    state = state.start_with(tx, variables["params"], variables.get("batch_stats", {}))
    return state, {"workdir": str(workdir), "step": step}


def _modules(names) -> str:
    """The first few of the submodules that hold parameters."""
    found = sorted({name.split("/")[1] for name in names if name.startswith("params/")})
    return ", ".join(found[:4]) + ", ..." * (len(found) > 4)
