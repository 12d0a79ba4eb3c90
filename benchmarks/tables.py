"""The results on file: a CSV with a line for each run, and the tables of the docs, written from it between two marks."""

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import REFERENCES, Reference, Row
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
NOT_RUN = "not run"
NONE = "-"


class Results:
    """The lines of a results CSV by the run's name; every change is on disk when `update` returns."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lines: dict[str, dict[str, str]] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                self._lines = {line["name"]: line for line in csv.DictReader(file)}

    def __getitem__(self, name: str) -> dict[str, str]:
        """What is known of a run, as text; empty where nothing is."""
        return {key: value for key, value in self._lines.get(name, {}).items() if value}

    def done(self, name: str) -> bool:
        """Whether the run was trained and scored."""
        return "iou_pooled/mean" in self[name]

    def update(self, name: str, **values) -> None:
        """Adds to what is known of a run."""
        self._lines[name] = self[name] | {"name": name} | {key: str(value) for key, value in values.items()}
        self.write()

    def write(self) -> None:
        """Writes the file, a header alone where nothing is known; in one move, so that a crash leaves the old or the new."""
        classes = {key for line in self._lines.values() for key in line if key not in COLUMNS}
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*COLUMNS, *sorted(classes)], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._lines.values())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(self.path, text.getvalue().encode())


def summary(rows: Sequence[Row], results: Results) -> str:
    """A Markdown table: a line for each network and number of minutes, its seeds as mean ± standard deviation.

    Runs on a fraction of the training images are not in it. The deviation is that of a sample (divided by n - 1). References
    stand below the rows of their data set.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        if row.train_fraction == 1:
            groups.setdefault((row.data, row.variant, row.minutes), []).append(row)
    lines = _header(
        "data", "network", "parameters", "minutes (wall)", "steps", "IoU by class", "mean", "per image", "seeds"
    )
    for data in dict.fromkeys(row.data for row in rows):
        lines += [_line(_cells(group, results)) for (name, *_), group in groups.items() if name == data]
        lines += [_line(_reference(reference)) for reference in REFERENCES if reference.data == data]
    return "\n".join(lines)


def runs(rows: Sequence[Row], results: Results) -> str:
    """A Markdown table with a line for each run."""
    lines = _header(
        "run", "steps", "s a step", "minutes of steps", "wall minutes", "checkpoint", "mean IoU", "per image"
    )
    for row in rows:
        known = results[row.name]
        if not results.done(row.name):
            lines.append(_line([f"`{row.name}`", *[NOT_RUN] * 7]))
            continue
        columns = ("num_steps", "seconds_per_step", "trained_minutes", "wall_minutes", "checkpoint")
        scores = (_score(float(known[key])) for key in ("iou_pooled/mean", "iou_image/mean"))
        lines.append(_line([f"`{row.name}`", *(known.get(key, NONE) for key in columns), *scores]))
    return "\n".join(lines)


def beside(rows: Sequence[Row], results: Results) -> str:
    """A Markdown table of what stands beside another experiment: by seed, how much higher its mean IoU is than that one's."""
    lines = _header("data", "network", "mean IoU, by seed", "mean of these")
    for data, variant in dict.fromkeys((row.data, row.variant) for row in rows if row.experiment.beside):
        group = [row for row in rows if (row.data, row.variant, row.train_fraction) == (data, variant, 1)]
        gains = []
        for row in group:
            pair = (row.name, dataclasses.replace(row, variant=row.experiment.beside).name)
            if all(map(results.done, pair)):
                one, other = (float(results[name]["iou_pooled/mean"]) for name in pair)
                gains.append(one - other)
        shown = [f"{gain:+.3f}" for gain in gains] or [NOT_RUN]
        mean = [NONE] if not gains else [f"{statistics.mean(gains):+.3f}"]
        if len(gains) > 1:
            mean.append(f"± {statistics.stdev(gains):.3f}")
        lines.append(_line([f"`{data}`", group[0].experiment.network, ", ".join(shown), " ".join(mean)]))
    return "\n".join(lines)


def rewrite(path: Path, mark: str, text: str) -> None:
    """Puts `text` between the lines <!-- mark --> and <!-- /mark --> of a file.

    Raises UserError where the file has no such lines.
    """
    begin, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
    content = path.read_text()
    if begin not in content or end not in content.partition(begin)[2]:
        raise UserError(f"{path}: has no lines <!-- {mark} --> and <!-- /{mark} -->; put them where the table belongs")
    head, _, rest = content.partition(begin)
    tail = rest.partition(end)[2]
    path.write_text(head + begin + text + end + tail)


def _header(*titles: str) -> list[str]:
    return [_line(titles), "|" + "---|" * len(titles)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(group: Sequence[Row], results: Results) -> list[str]:
    row = group[0]
    done = [results[each.name] for each in group if results.done(each.name)]
    head = [f"`{row.data}`" + (f", {done[0]['split']}" if done else ""), row.experiment.network]
    if not done:
        return [*head, NONE, f"{row.minutes:g}", NONE, NOT_RUN, NOT_RUN, NOT_RUN, f"0 of {len(group)}"]
    classes = [key for key in done[0] if key.startswith("iou_pooled/") and key != "iou_pooled/mean"]
    by_class = (f"{key.removeprefix('iou_pooled/')} {_spread(done, key)}" for key in classes)
    wall = statistics.mean(float(line["wall_minutes"]) for line in done)
    return [
        *head,
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
    return [
        f"`{reference.data}`",
        f"*{reference.what}; given, not run*",
        NONE,
        NONE,
        NONE,
        by_class,
        mean,
        per_image,
        NONE,
    ]


def _spread(done: Sequence[dict], key: str) -> str:
    values = [float(line[key]) for line in done]
    if any(map(math.isnan, values)):
        # A class that one seed's images lack.
        return NONE
    text = _score(statistics.mean(values))
    return text + (f" ± {_score(statistics.stdev(values))}" if len(values) > 1 else "")


def _score(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}".removeprefix("0")
