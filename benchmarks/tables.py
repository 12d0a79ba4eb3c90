"""The results on file: a CSV with a line for each run, and the tables of the docs that are written from it."""

import csv
import dataclasses
import io
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.rows import HIGHLIGHTS, REFERENCES, Reference, Row
from unet_jax.errors import UserError
from unet_jax.storage import paths

COLUMNS = (
    "name",
    "data",
    "network",
    "config",
    "seed",
    "minutes",
    "num_steps",
    "seconds_per_step",
    "parameters",
    "trained_minutes",
    "wall_minutes",
    "split",
    "checkpoint",
    "iou_pooled/mean",
    "iou_image/mean",
    "date",
    "jax",
    "device",
    "cores",
    "commit",
    "command",
)
NONE = "-"


class Results:
    """The lines of a results CSV by the run's name; every change is on disk when `update` returns.

    Args:
      path: the file, which may not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lines: dict[str, dict[str, str]] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                self._lines = {line["name"]: line for line in csv.DictReader(file)}

    def __getitem__(self, name: str) -> dict[str, str]:
        """Returns what is known of a run, as text; empty where nothing is known."""
        return {key: value for key, value in self._lines.get(name, {}).items() if value}

    def done(self, name: str) -> bool:
        """Returns True if the run was trained and scored."""
        return "iou_pooled/mean" in self[name]

    def update(self, name: str, **values: object) -> None:
        """Adds to what is known of a run."""
        self._lines[name] = self[name] | {"name": name} | {key: str(value) for key, value in values.items()}
        self.write()

    def write(self) -> None:
        """Writes the file in one move, so that a crash leaves the old one or the new one; without runs, a header alone."""
        classes = {key for line in self._lines.values() for key in line if key not in COLUMNS}
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*COLUMNS, *sorted(classes)], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._lines.values())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(self.path, text.getvalue().encode())


def summary(rows: Sequence[Row], results: Results) -> str:
    """Returns a Markdown table with a line for each network and number of minutes that has a run.

    Scores are means over the seeds ± standard deviation of a sample (divided by n - 1). Runs on a fraction of the training
    images are left out. References stand below the rows of their data set.
    """
    lines = _header(
        "data", "network", "parameters", "minutes (wall)", "steps", "IoU by class", "mean", "per image", "seeds"
    )
    for data in dict.fromkeys(row.data for row in rows):
        for group, done in _groups(rows, results):
            if group[0].data == data:
                lines.append(_line(_cells(group, done)))
        lines += [_line(_reference(reference)) for reference in REFERENCES if reference.data == data]
    return "\n".join(lines)


def highlights(rows: Sequence[Row], results: Results) -> str:
    """Returns a short Markdown table of `rows.HIGHLIGHTS`, for the README."""
    lines = _header("data", "network", "parameters", "minutes", "steps", "mean IoU", "seeds")
    for group, done in _groups(rows, results):
        row = group[0]
        if (row.data, row.variant, row.minutes) in HIGHLIGHTS:
            data, network, parameters, _, steps, _, mean, _, seeds = _cells(group, done)
            lines.append(_line([data, network, parameters, f"{row.minutes:g}", steps, mean, seeds]))
    return "\n".join(lines)


def runs(rows: Sequence[Row], results: Results) -> str:
    """Returns a Markdown table with a line for each run that is done."""
    lines = _header(
        "run", "steps", "s a step", "minutes of steps", "wall minutes", "checkpoint", "mean IoU", "per image"
    )
    columns = ("num_steps", "seconds_per_step", "trained_minutes", "wall_minutes", "checkpoint")
    for row in rows:
        if results.done(row.name):
            known = results[row.name]
            scores = (_score(float(known[key])) for key in ("iou_pooled/mean", "iou_image/mean"))
            lines.append(_line([f"`{row.name}`", *(known.get(key, NONE) for key in columns), *scores]))
    return "\n".join(lines)


def additions(rows: Sequence[Row], results: Results) -> str:
    """Returns a Markdown table of the experiments that add one thing to another one.

    The gain of a seed is the mean IoU minus that of the other experiment with the same seed. Experiments without such a pair
    of runs are left out.
    """
    lines = _header("data", "network", "gain in mean IoU, by seed", "mean of these")
    for data, variant in dict.fromkeys((row.data, row.variant) for row in rows if row.experiment.adds_to):
        group = [row for row in rows if (row.data, row.variant, row.train_fraction) == (data, variant, 1)]
        gains = []
        for row in group:
            pair = (row.name, dataclasses.replace(row, variant=row.experiment.adds_to).name)
            if all(map(results.done, pair)):
                score, base = (float(results[name]["iou_pooled/mean"]) for name in pair)
                gains.append(score - base)
        if not gains:
            continue
        mean = f"{statistics.mean(gains):+.3f}" + (f" ± {statistics.stdev(gains):.3f}" if len(gains) > 1 else "")
        by_seed = ", ".join(f"{gain:+.3f}" for gain in gains)
        lines.append(_line([f"`{data}`", group[0].experiment.network, by_seed, mean]))
    return "\n".join(lines)


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    return "\n".join([*_header(*titles), *map(_line, lines)])


def rewrite(path: Path, mark: str, text: str) -> None:
    """Puts `text` between the lines <!-- mark --> and <!-- /mark --> of a file.

    Raises:
      UserError: the file has no such lines.
    """
    content = path.read_text()
    block = re.search(rf"^<!-- {mark} -->\n(.*?)^<!-- /{mark} -->", content, flags=re.DOTALL | re.MULTILINE)
    if not block:
        raise UserError(f"{path}: has no lines <!-- {mark} --> and <!-- /{mark} -->; put them where the table belongs")
    path.write_text(content[: block.start(1)] + text + "\n" + content[block.end(1) :])


def _header(*titles: str) -> list[str]:
    return [_line(titles), "|" + "---|" * len(titles)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _groups(rows: Sequence[Row], results: Results) -> Iterator[tuple[list[Row], list[dict[str, str]]]]:
    """Yields the rows of each experiment and number of minutes, with the lines of those that are done; at least one is."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        if row.train_fraction == 1:
            groups.setdefault((row.data, row.variant, row.minutes), []).append(row)
    for group in groups.values():
        if done := [results[row.name] for row in group if results.done(row.name)]:
            yield group, done


def _cells(group: Sequence[Row], done: Sequence[dict[str, str]]) -> list[str]:
    row = group[0]
    classes = [key for key in done[0] if key.startswith("iou_pooled/") and key != "iou_pooled/mean"]
    by_class = (f"{key.removeprefix('iou_pooled/')} {_spread(done, key)}" for key in classes)
    wall = statistics.mean(float(line["wall_minutes"]) for line in done)
    return [
        f"`{row.data}`, {done[0]['split']}",
        row.experiment.network,
        f"{int(done[0]['parameters']):,}",
        f"{row.minutes:g} ({wall:.1f})",
        " / ".join(sorted({line["num_steps"] for line in done}, key=int)),
        ", ".join(by_class),
        _spread(done, "iou_pooled/mean"),
        _spread(done, "iou_image/mean"),
        str(len(group)) if len(done) == len(group) else f"{len(done)} of {len(group)}",
    ]


def _reference(reference: Reference) -> list[str]:
    by_class = ", ".join(f"{name} {_score(value)}" for name, value in reference.iou_pooled.items())
    mean = _score(statistics.mean(reference.iou_pooled.values()))
    per_image = NONE if reference.iou_image is None else _score(reference.iou_image)
    name = f"*{reference.what}; given, not run*"
    return [f"`{reference.data}`", name, NONE, NONE, NONE, by_class, mean, per_image, NONE]


def _spread(done: Sequence[dict[str, str]], key: str) -> str:
    values = [float(line[key]) for line in done]
    if any(map(math.isnan, values)):
        # A class that one seed's images lack.
        return NONE
    text = _score(statistics.mean(values))
    return text + (f" ± {_score(statistics.stdev(values))}" if len(values) > 1 else "")


def _score(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}"
