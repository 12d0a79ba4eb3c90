"""Checks that all processes of a run see the same workdir."""

import os

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.runs.workdir import open_workdir
from unet_jax.runtime import processes

REMEDY = "give a folder that all of them share, such as one on NFS, Lustre or Filestore"


def open_shared_workdir(workdir: str | os.PathLike, config: ConfigDict, dataset: Dataset, num_steps: int) -> Path:
    """Opens the workdir on process 0, as `open_workdir` does, and returns it on every process.

    A process that does not see the folder would fail only after the training, when the network is scored.

    Args:
      workdir: the folder.
      config: the config of the run.
      dataset: the data set of the run.
      num_steps: steps of the run.

    Raises:
      UserError: as `open_workdir`, on every process; or some processes do not see the folder. Their numbers are named.
    """
    folder = processes.on_process_0(lambda: open_workdir(workdir, config, dataset, num_steps))
    seen = processes.gather((folder / "versions.json").exists())
    without = [process for process, sees in enumerate(seen) if not sees]
    if without:
        raise UserError(
            f"--workdir={folder}: process 0 sees this folder, but not process {_first_few(without)}; {REMEDY}"
        )
    return folder


def check_same_step(step: int, workdir: Path) -> None:
    """Checks that every process has opened the checkpoint of the same step.

    Args:
      step: the step that this process has opened.
      workdir: the run's folder, for the error.

    Raises:
      UserError: the steps differ.
    """
    steps = processes.gather(step)
    others = [process for process, other in enumerate(steps) if other != steps[0]]
    if others:
        raise UserError(
            f"--workdir={workdir}: process 0 opened the checkpoint of step {steps[0]}, process {_first_few(others)} another; "
            f"{REMEDY}, or name the step (unet-jax eval --checkpoint=STEP)"
        )


def _first_few(processes: list[int]) -> str:
    listed = [str(process) for process in processes[:4]]
    if len(processes) > 4:
        listed.append("...")
    return ", ".join(listed)
