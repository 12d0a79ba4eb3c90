"""Checks that all processes of a run have the same config, data and devices, and see the same workdir."""

import os
from collections.abc import Sequence

import jax
from etils.epath import Path
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.runs.workdir import LOCAL_PATHS, data_facts, open_workdir
from unet_jax.runtime import parallel, processes
from unet_jax.storage import json_file

REMEDY = "give a folder that all of them share, such as one on NFS, Lustre or Filestore"

# Keys of a config that depend on the machine of a process.
OF_THE_MACHINE = ("imports", "data.num_threads", *(f"data.{key}" for key in LOCAL_PATHS))


def check_same_job(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> None:
    """Checks that every process trains with the same config, on as many devices of the same kind.

    Process 0 writes the config of the run. A process with another one would change the run and leave no trace.

    Args:
      config: the config of this process.
      devices: the devices of this process; None for all local ones.

    Raises:
      UserError: the processes differ; raised in every process.
    """
    if processes.process_count() == 1:
        return
    keys = flatten_dict(json_file.plain(config.to_dict()), sep=".")
    local = parallel.local_devices(devices)
    processes.check_same(
        {f"config.{key}": value for key, value in keys.items() if key not in OF_THE_MACHINE}
        | {"the number of devices": len(local), "the kind of device": local[0].device_kind}
        | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
    )


def open_shared_workdir(workdir: str | os.PathLike, config: ConfigDict, dataset: Dataset, num_steps: int) -> Path:
    """Opens the workdir on process 0, as `open_workdir` does, and returns it on every process.

    A process that does not see the folder would fail only after the training, when the network is scored.

    Args:
      workdir: the folder.
      config: the config of the run.
      dataset: the data set of the run.
      num_steps: steps of the run.

    Raises:
      UserError: as `open_workdir`, on every process; or the processes read different data, or some do not see the folder.
        Their numbers are named.
    """
    facts = {f"data.{name}": value for name, value in data_facts(dataset).items()}
    processes.check_same(facts, "give every process the same files")
    folder = Path(processes.on_process_0(lambda: str(open_workdir(workdir, config, dataset, num_steps))))
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
