"""The folder of a run that several processes train and score together: all of them must see the same one."""

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.runs import workdir as folder
from unet_jax.runtime import parallel

REMEDY = "give a folder that all of them share, such as one on NFS, Lustre or Filestore"


def open_shared_workdir(workdir, config: ConfigDict, dataset: Dataset, num_steps: int) -> Path:
    """`workdir.start` by process 0; raises its UserError in all, or one that names the processes that see nothing of it.

    Whoever trains without seeing the folder would notice only when the trained network is to be scored.
    """
    workdir = parallel.on_process_0(lambda: folder.open_workdir(workdir, config, dataset, num_steps))
    seen = parallel.gather((workdir / "versions.json").exists())
    blind = [process for process, sees in enumerate(seen) if not sees]
    if blind:
        raise UserError(f"--workdir={workdir} of process 0 is not there for process {_listed(blind)}; {REMEDY}")
    return workdir


def check_same_step(step: int, workdir: Path) -> None:
    """Raises UserError unless every process has opened the checkpoint of the same step."""
    steps = parallel.gather(step)
    others = [process for process, other in enumerate(steps) if other != steps[0]]
    if others:
        raise UserError(
            f"--workdir={workdir}: process 0 opened the checkpoint of step {steps[0]}, process {_listed(others)} another; "
            f"{REMEDY}, or name the step (run_eval.py --checkpoint=STEP)"
        )


def _listed(processes: list[int]) -> str:
    return ", ".join(map(str, processes[:4])) + ", ..." * (len(processes) > 4)
