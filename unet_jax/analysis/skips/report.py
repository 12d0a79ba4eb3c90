"""Shows a study as text, and writes it as CSV, JSON and a picture."""

import dataclasses
import math
from collections.abc import Sequence

from etils.epath import Path

from unet_jax.analysis.results import write_results
from unet_jax.analysis.skips import picture
from unet_jax.analysis.skips.localise import MEANS, METRICS
from unet_jax.analysis.skips.study_result import RunResult, Study
from unet_jax.plotting.text_table import format_table


def text(run: RunResult, classes: Sequence[str]) -> str:
    """Returns the table of one run as text.

    Args:
      run: the run and its results.
      classes: the reported classes.

    Returns:
      The scores of the network as it is and the points that each replacement costs, or the similarities of maps.
    """
    title = f"{run.name}: {run.network}, checkpoint of step {run.step}, {run.mode}"
    return "\n".join([title, *(_drops(run, classes) if run.scores else _pairs(run))])


def _drops(run: RunResult, classes: Sequence[str]) -> list[str]:
    names = [f"{metric}/{name}" for metric in METRICS for name in ("mean", *classes)]
    titles = [name.replace("boundary_iou", "boundary").replace("iou", "IoU") for name in names]
    base, *replaced = run.scores
    width = max(len(score.name) for score in run.scores)
    rows = [(" " * (width + 9), *titles), (base.name, *(f"{base.scores[name]:.4f}" for name in names))]
    for score in replaced:
        rows.append((f"  {score.kind:5}  {score.name}", *(_number(score.drops[name], ".2f") for name in names)))
    title_line, base_line, *score_lines = format_table(rows).splitlines()
    lines, mean = [title_line, base_line], ""
    for score, line in zip(replaced, score_lines, strict=True):
        if score.mean != mean:
            mean = score.mean
            lines.append(f"points lost, replaced by the mean of {MEANS[mean]}:")
        lines.append(line)
    return lines


def _pairs(run: RunResult) -> list[str]:
    lines = ["linear CKA of the up-sampled map U and each skip"]
    for node in dict.fromkeys(pair.node for pair in run.pairs):
        pairs = [pair for pair in run.pairs if pair.node == node and pair.a == "U"]
        lines.append(f"  {node:10}" + "  ".join(f"{pair.b} {_number(pair.cka, '.3f')}" for pair in pairs))
    return lines


def write(study: Study, out: Path) -> list[Path]:
    """Writes a study into a folder; files of the same names are replaced.

    Args:
      study: the study.
      out: the folder.

    Returns:
      The paths of `skips.json`, `skips.csv` and `skips.png`, or, where maps were compared, of `similarity.json`,
      `similarity.csv` and `similarity.png`.
    """
    if study.runs[0].scores:
        name, rows, drawn = (
            "skips",
            [row for run in study.runs for row in _score_rows(run)],
            picture.draw_networks(study),
        )
    else:
        name, rows, drawn = (
            "similarity",
            [row for run in study.runs for row in _pair_rows(run)],
            picture.draw_bars(study),
        )
    return write_results(out, {f"{name}.json": dataclasses.asdict(study), f"{name}.csv": rows, f"{name}.png": drawn})


def _score_rows(run: RunResult) -> list[dict]:
    parts = ("kind", "name", "source", "reader", "mean")
    return [
        _run_cells(run)
        | {part: getattr(score, part) for part in parts}
        | score.scores
        | {f"drop/{name}": value for name, value in score.drops.items()}
        for score in run.scores
    ]


def _pair_rows(run: RunResult) -> list[dict]:
    return [_run_cells(run) | pair._asdict() for pair in run.pairs]


def _run_cells(run: RunResult) -> dict:
    return {"run": run.name, "network": run.network, "step": run.step, "mode": run.mode}


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
