"""A study as text, as CSV and as JSON."""

import csv
import dataclasses
import math
from collections.abc import Sequence

from etils.epath import Path

from unet_jax.analysis.skips.graph import Graph
from unet_jax.analysis.skips.localise import METRICS, OF, Score
from unet_jax.analysis.skips.similarity import Pair
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A run with what was found: `scores` where maps were replaced, `pairs` where they were compared."""

    name: str
    workdir: str
    network: str
    step: int
    mode: str
    graph: Graph
    scores: list[Score]
    pairs: list[Pair]


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs looked at on the same images."""

    split: str
    num_images: int
    boundary_share: float
    classes: tuple[str, ...]
    runs: list[RunResult]
    versions: dict


def text(run: RunResult, classes: Sequence[str]) -> str:
    """The table of one run: scores of the network as it is, then the points that each replacement costs."""
    title = f"{run.name}: {run.network}, checkpoint of step {run.step}, {run.mode}"
    return "\n".join([title, *(_drops(run, classes) if run.scores else _pairs(run))])


def _drops(run: RunResult, classes: Sequence[str]) -> list[str]:
    names = [f"{metric}/{name}" for metric in METRICS for name in ("mean", *classes)]
    titles = {name: name.replace("boundary_iou", "boundary").replace("iou", "IoU") for name in names}
    base, first = run.scores[0], max(len(score.name) for score in run.scores)
    lines = ["  ".join([" " * (first + 9), *titles.values()])]
    lines.append(_line(base.name.ljust(first + 9), [(f"{base.scores[name]:.4f}", titles[name]) for name in names]))
    for mean in dict.fromkeys(score.mean for score in run.scores[1:]):
        lines.append(f"points lost with the mean of {OF[mean]} in place of")
        for score in (score for score in run.scores if score.mean == mean):
            cells = [(_points(score.drops[name]), titles[name]) for name in names]
            lines.append(_line(f"  {score.kind:5}  {score.name:{first}}", cells))
    return lines


def _pairs(run: RunResult) -> list[str]:
    lines = ["linear CKA of the up-sampled map U and each skip"]
    for node in dict.fromkeys(pair.node for pair in run.pairs):
        pairs = [pair for pair in run.pairs if pair.node == node and pair.a == "U"]
        lines.append(f"  {node:10}" + "  ".join(f"{pair.b} {_cell(pair.cka)}" for pair in pairs))
    return lines


def write(study: Study, out: Path) -> list[Path]:
    """Writes `skips.csv` and `skips.json`, or `similarity.csv` and `similarity.json`; those there are replaced."""
    rows = [row for run in study.runs for row in (_score_rows(run) if run.scores else _pair_rows(run))]
    name = "skips" if study.runs[0].scores else "similarity"
    paths = [out / f"{name}.csv", out / f"{name}.json"]
    with report_write_errors():
        with paths[0].open("w") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(json_file.plain(rows))
        json_file.write(paths[1], json_file.plain(dataclasses.asdict(study)), indent=1)
    return paths


def _about(run: RunResult) -> dict:
    return {"run": run.name, "network": run.network, "step": run.step, "mode": run.mode}


def _score_rows(run: RunResult) -> list[dict]:
    rows = []
    for score in run.scores:
        told = {
            "kind": score.kind,
            "name": score.name,
            "source": score.source,
            "reader": score.reader,
            "mean": score.mean,
        }
        drops = {f"drop/{name}": value for name, value in score.drops.items()}
        rows.append(_about(run) | told | score.scores | drops)
    return rows


def _pair_rows(run: RunResult) -> list[dict]:
    return [_about(run) | pair._asdict() for pair in run.pairs]


def _line(label: str, cells: Sequence[tuple[str, str]]) -> str:
    return "  ".join([label, *(cell.rjust(len(title)) for cell, title in cells)])


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
