"""The comparison as text, as CSV and JSON, and its pictures written; `result` is that of `comparison.compare`."""

import csv
import math
from collections.abc import Mapping

from etils.epath import Path

from unet_jax.analysis.compare import pictures
from unet_jax.plotting import drawing
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors

KINDS = pictures.KINDS
GAP = "train - val"


def text(result: Mapping) -> str:
    """The table of the groups, that of every two of them, and what the figures are."""
    parts = (_table(result), _others(result), _pairs(result), _notes(result))
    return "\n" + "\n\n".join(filter(None, parts))


def _table(result: Mapping) -> str:
    """A line for each group and split, and one for the gap of train to val."""
    title = pictures.TITLES[result["metric"]]
    rows = [("", "", "seeds", "parameters", "split", *(f"{title} {said}" for said in KINDS.values()))]
    for number, group in enumerate(result["groups"], 1):
        about = (str(number), group["name"], str(len(group["seeds"])), f"{group['parameters']:,}")
        told = dict(group["scores"]) | ({GAP: group["gap"]} if group["gap"] else {})
        for place, (split, scores) in enumerate(told.items()):
            rows.append((*(about if not place else ("",) * 4), split, *(_score(scores[kind]) for kind in KINDS)))
    return _aligned(rows, right=(0, 2, 3))


def _others(result: Mapping) -> str:
    """What differs between the groups, by key, where every one of them has the key."""
    lines = [
        f"{key}: {', '.join(map(str, values))}" for key, values in result["differences"].items() if None not in values
    ]
    return "\n".join(["what differs, in the order of the groups:", *(f"  {line}" for line in lines)]) if lines else ""


def _pairs(result: Mapping) -> str:
    """A line for every two groups, by their numbers in the table above."""
    if not result["pairs"]:
        return ""
    title, several = pictures.TITLES[result["metric"]], len(result["groups"]) > 2
    numbers = {group["name"]: number for number, group in enumerate(result["groups"], 1)}
    head = ("split", "difference", *(f"{title} {said}" for said in KINDS.values()), "p", *["p, Holm"] * several)
    rows = [head]
    for pair in result["pairs"]:
        told = (f"{pair[kind]['difference']:+.4f} {_ends(pair[kind], '+.4f')}" for kind in KINDS)
        p = [_number(pair[name], ".4f") for name in ("p", *["p_holm"] * several)]
        rows.append((pair["split"], f"{numbers[pair['second']]} - {numbers[pair['first']]}", *told, *p))
    return _aligned(rows, right=(4, 5))


def _notes(result: Mapping) -> str:
    images = ", ".join(f"{split} {' or '.join(map(str, num))}" for split, num in result["num_images"].items())
    lines = [
        f"Mean over {', '.join(result['report_classes'])}, of each run's best checkpoint; images: {images}. Mean over seeds ± standard",
        f"deviation (n - 1), and a 95 % interval over seeds and images ({result['resamples']:,} resamples; of one seed over images",
        "alone; of few seeds too narrow).",
    ]
    if any(group["gap"] for group in result["groups"]):
        lines.append(f"{GAP}: the gap, with whole training images, not augmented, those trained on.")
    if result["pairs"]:
        unpaired = not all(pair["same_seeds"] for pair in result["pairs"])
        lines += [
            "Differences are paired by image" + (", and by seed where both have the same seeds" if unpaired else " and seed")
            + "; their intervals as above.",
            "p: permutation test, two-sided, of the difference per image, mean over seeds. It tells of other images, for these",
            "very trainings; what other seeds would change is in the interval alone."
            + " Holm: corrected for all tests of a split." * (len(result["groups"]) > 2),
        ]  # fmt: skip
    if "train" in result["splits"] and len(result["num_images"]["train"]) > 1:
        lines.append("No test on train between groups of other data.train_fraction: they were trained on other images.")
    return "\n".join(lines)


def write(result: Mapping, out: Path) -> list[Path]:
    """Writes `compare.json` (all of it), `compare.csv` (a row for each group), `compare.png`, and `gap.png` if there is a
    gap and more than one share of the training images; those there are replaced, a `gap.png` of before is taken away."""
    paths = [out / f"compare.{ending}" for ending in ("json", "csv", "png")]
    rows = [json_file.plain(_row(group, result["metric"])) for group in result["groups"]]
    gap = out / "gap.png"
    with report_write_errors():
        json_file.write(paths[0], json_file.plain(result), indent=1)
        with paths[1].open("w") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        drawing.save_figure(pictures.scores(result), paths[2])
        gap.unlink(missing_ok=True)
        if all(group["gap"] for group in result["groups"]) and len(pictures.shares(result)) > 1:
            drawing.save_figure(pictures.gap(result), gap)
            paths.append(gap)
    return paths


def _row(group: Mapping, metric: str) -> dict:
    row = {"group": group["name"], "num_seeds": len(group["seeds"]), "seeds": " ".join(map(str, group["seeds"]))}
    row |= {name: group[name] for name in ("parameters", "train_fraction", "num_train")}
    told = dict(group["scores"]) | ({"gap": group["gap"]} if group["gap"] else {})
    for split, scores in told.items():
        for kind in KINDS:
            values = {key: value for key, value in scores[kind].items() if key != "by_seed"}
            row |= {f"{split}/{metric}_{kind}/{key}": value for key, value in values.items()}
    return row


def _aligned(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> str:
    """Columns of equal width, those in `right` set to the right; a rule below the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _score(told: Mapping) -> str:
    return f"{_number(told['mean'], '.4f')} ± {_number(told['std'], '.4f').ljust(6)} {_ends(told, '.4f')}"


def _ends(told: Mapping, form: str) -> str:
    return f"[{_number(told['low'], form)}, {_number(told['high'], form)}]"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
