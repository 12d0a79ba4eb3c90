"""Compares the gradients of runs at chosen steps, as a table, a CSV file and a picture."""

import os
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from unet_jax.analysis.gradients import report
from unet_jax.analysis.gradients.flow import Flow, measure
from unet_jax.errors import UserError
from unet_jax.runs.replay import Replay
from unet_jax.runs.workdir import resolve
from unet_jax.storage import paths


def compare(
    workdirs: Sequence[str | os.PathLike],
    steps: Sequence[str | int],
    *,
    config: ConfigDict | None = None,
    config_name: str = "config",
    out: str | os.PathLike = "",
    devices: Sequence[jax.Device] | None = None,
) -> list[Flow]:
    """Measures the gradients of each run at each step, prints a table, and writes CSV and picture.

    Args:
      workdirs: folders of the runs.
      steps: steps from 0 to the last one of each run, "best" or "latest".
      config: config of one more run, which has no workdir.
      config_name: name of that run.
      out: folder to write into; "" for WORKDIR/gradients, with one run.
      devices: devices to run on; all local ones by default.

    Returns:
      The gradients of each run at each step.

    Raises:
      UserError: there is no run, no step or no folder to write into, or a run does not have a step. All of this is found
        before anything is trained.
    """
    folders = list(dict.fromkeys(resolve(workdir) for workdir in workdirs))
    if not folders and config is None:
        raise UserError(
            "no run is given; give --workdir, once for each run, or --config for a run that was not trained"
        )
    if not steps:
        raise UserError("--steps is empty; give steps separated by commas, such as --steps=0,50,latest")
    if not out and (len(folders) != 1 or config is not None):
        raise UserError("--out is empty; give a folder, as there are several runs or one without a workdir")
    place = paths.expand(out, "--out") if out else folders[0] / "gradients"
    names = [path.name for path in folders]
    if config is not None:
        names.append(config_name)
    unique = len(set(names)) == len(names)
    runs = {path.name if unique else str(path): Replay.of_run(path, devices) for path in folders}
    if config is not None:
        runs[config_name] = Replay(config, "--config", devices=devices)
    asked = {str(step): {run: replay.step_of(step) for run, replay in runs.items()} for step in steps}
    wanted = {run: sorted({step_of[run] for step_of in asked.values()}) for run in runs}
    for run, replay in runs.items():
        print(_plan(run, replay.legs(wanted[run])), flush=True)
    flows = [flow for run, replay in runs.items() for flow in measure(run, replay, wanted[run])]
    print(f"\n{report.table(flows)}\n")
    for path in report.write(flows, asked, place):
        print(f"written: {path}")
    return flows


def _plan(run: str, legs: list[tuple[int, int]]) -> str:
    """Describes how the states of a run are made, and the number of steps to train."""
    parts = [f"{end} without training" if begin == end else f"{end} from {begin}" for begin, end in legs]
    return f"{run}: step {', '.join(parts)}; {sum(end - begin for begin, end in legs)} steps to train"
