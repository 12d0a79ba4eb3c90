"""Starts a run from the network of another run: `train.init_from`."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.chosen import read_chosen
from unet_jax.errors import UserError
from unet_jax.runs.workdir import load_config
from unet_jax.storage import paths
from unet_jax.training.state import TrainState

REMEDY = (
    "give the options of config.model that are in that run's config.json, and data with as many classes and channels; or "
    "leave train.init_from empty"
)


def initialize_from(
    state: TrainState, tx: optax.GradientTransformation, workdir: str
) -> tuple[TrainState, dict[str, Any]]:
    """Replaces the parameters of step 0 by those of the same name in another run's best checkpoint.

    The running statistics of BatchNorm are replaced too; the optimiser starts anew. If `eval.weights` of the other run is
    "ema", its moving average is used. Parameters that the other run lacks stay as initialised, and their names are printed.
    The data of the other run need not be there.

    Args:
      state: the state as initialised.
      tx: the optimiser.
      workdir: the folder of the other run.

    Returns:
      The state, and its origin for the record: workdir and step.

    Raises:
      UserError: there is no run or no checkpoint, no parameter has the same name, one has another shape, or the checkpoint
        is damaged.
    """
    folder = paths.resolve(workdir, "train.init_from")
    if not (folder / "checkpoints").is_dir():
        raise UserError(f"train.init_from={folder} has no checkpoints; give the workdir of a run that has")
    initialized = flatten_dict({"params": state.params, "batch_stats": state.batch_stats}, sep="/")
    uses_ema = (folder / "config.json").exists() and load_config(folder).eval.weights == "ema"
    prefix = "ema/" if uses_ema else ""

    def read(checkpointer: Checkpointer, step: int) -> dict[str, Any]:
        saved = {name.removeprefix(prefix) for name in checkpointer.leaf_names(step) if name.startswith(prefix)}
        common = {name: leaf for name, leaf in initialized.items() if name in saved}
        if not any(name.startswith("params/") for name in common):
            raise UserError(
                f"train.init_from={folder}: that network and this one have no parameter of the same name "
                f"({_modules(saved)} there, {_modules(initialized)} here); start from a run of this kind of network"
            )
        like = unflatten_dict({prefix + name: leaf for name, leaf in common.items()}, sep="/")
        restored = checkpointer.restore(step, like, misfit=REMEDY)
        return flatten_dict(restored["ema"] if uses_ema else restored, sep="/")

    step, restored = read_chosen(folder / "checkpoints", "best", read)
    restored = jax.tree.map(jnp.asarray, restored)
    variables = unflatten_dict(initialized | restored, sep="/")
    missing = sorted(name.removeprefix("params/") for name in initialized.keys() - restored.keys())
    taken = f"all but {', '.join(missing)}, which stay as initialised" if missing else "every parameter"
    print(f"starting from step {step} of {folder}: {taken}")
    state = state.start_with(tx, variables["params"], variables.get("batch_stats", {}))
    return state, {"workdir": str(folder), "step": step}


def _modules(names: Iterable[str]) -> str:
    """Returns the names of the first few submodules that hold parameters."""
    modules = sorted({name.split("/")[1] for name in names if name.startswith("params/")})
    if len(modules) > 4:
        modules = [*modules[:4], "..."]
    return ", ".join(modules)
