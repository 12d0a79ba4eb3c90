"""Compares runs: from workdirs and steps to the table, the CSV and the picture of their gradients."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from unet_jax.analysis.gradients import report
from unet_jax.analysis.gradients.flow import Flow, measure
from unet_jax.errors import UserError
from unet_jax.runs.replay import Replay
from unet_jax.runs.workdir import resolve
from unet_jax.storage import paths


def compare(
    workdirs: Sequence[str],
    steps: Sequence[str | int],
    *,
    config: ConfigDict | None = None,
    config_name: str = "config",
    out="",
    devices=None,
) -> list[Flow]:
    """Measures the gradients of each run at each step, prints a table, and writes what `report.write` does.

    Args:
      workdirs: of the runs.
      steps: whole numbers from 0 to each run's last, "best" or "latest".
      config: of one more run, which has no workdir.
      config_name: what that run is called.
      out: folder to write into; "" for WORKDIR/gradients, where there is one run.
      devices: to run on; all local ones by default.

    Raises:
      UserError: no run, no step, none that a run has, or nowhere to write; before anything is trained.
    """
    workdirs = list(dict.fromkeys(resolve(workdir) for workdir in workdirs))
    if not workdirs and config is None:
        raise UserError(
            "no run is given; give --workdir, once for each run, or --config for one that was never trained"
        )
    if not steps:
        raise UserError("--steps is empty; give steps with commas between, such as --steps=0,50,latest")
    if not out and (len(workdirs) != 1 or config is not None):
        raise UserError("--out is empty; more than one run, or one without a workdir, needs a folder to write into")
    out = out and paths.expand(out, "--out")
    names = [path.name for path in workdirs]
    if config is not None:
        names.append(config_name)
    unique = len(set(names)) == len(names)
    runs = {path.name if unique else str(path): Replay.of_run(path, devices) for path in workdirs}
    if config is not None:
        runs[config_name] = Replay(config, "--config", devices=devices)
    asked = {str(which): {run: replay.step_of(which) for run, replay in runs.items()} for which in steps}
    wanted = {run: sorted({places[run] for places in asked.values()}) for run in runs}
    for run, replay in runs.items():
        print(_plan(run, replay.legs(wanted[run])), flush=True)
    flows = [flow for run, replay in runs.items() for flow in measure(run, replay, wanted[run])]
    print(f"\n{report.table(flows)}\n")
    for path in report.write(flows, asked, out or workdirs[0] / "gradients"):
        print(f"written: {path}")
    return flows


def _plan(run: str, legs: list[tuple[int, int]]) -> str:
    """Describes what a run's steps cost."""
    parts = [f"{to} as it was" if begin == to else f"{to} from {begin}" for begin, to in legs]
    return f"{run}: step {', '.join(parts)}; {sum(to - begin for begin, to in legs)} steps to train"
