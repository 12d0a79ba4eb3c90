"""Shows a comparison as text, and writes it as CSV, JSON and pictures; `result` is what `comparison.compare` returns."""

import math
from collections.abc import Mapping
from typing import Any

from etils.epath import Path

from unet_jax.analysis.compare import pictures
from unet_jax.analysis.results import write_results
from unet_jax.plotting.text_table import format_table
from unet_jax.storage.write_errors import report_write_errors

KINDS = pictures.KINDS
GAP = "train - val"


def text(result: Mapping) -> str:
    """Returns the table of the groups, the table of every two groups, and notes that explain the numbers."""
    parts = (_groups(result), _differences(result), _pairs(result), _notes(result))
    return "\n" + "\n\n".join(filter(None, parts))


def _groups(result: Mapping) -> str:
    """Returns the table with a line for each group and split, and one for the gap between train and val."""
    metric = pictures.TITLES[result["metric"]]
    rows = [("#", "group", "seeds", "parameters", "split", *(f"{metric} {title}" for title in KINDS.values()))]
    for number, group in enumerate(result["groups"], 1):
        labels = (str(number), group["name"], str(len(group["seeds"])), f"{group['parameters']:,}")
        lines = dict(group["scores"]) | ({GAP: group["gap"]} if group["gap"] else {})
        for place, (split, scores) in enumerate(lines.items()):
            rows.append((*(labels if not place else ("",) * 4), split, *(_score(scores[kind]) for kind in KINDS)))
    return format_table(rows, left=(1, 4, 5, 6), rules=(1,))


def _differences(result: Mapping) -> str:
    """Returns the config keys that differ between the groups, where every group has the key."""
    differences = {key: values for key, values in result["differences"].items() if None not in values}
    if not differences:
        return ""
    lines = (f"  {key}: {', '.join(map(str, values))}" for key, values in differences.items())
    return "\n".join(["keys that differ, in the order of the groups:", *lines])


def _pairs(result: Mapping) -> str:
    """Returns the table with a line for every two groups, by their numbers in the table above."""
    if not result["pairs"]:
        return ""
    metric = pictures.TITLES[result["metric"]]
    numbers = {group["name"]: number for number, group in enumerate(result["groups"], 1)}
    tests = {"p": "p", "p_holm": "p, Holm"} if len(numbers) > 2 else {"p": "p"}
    rows = [("split", "difference", *(f"{metric} {title}" for title in KINDS.values()), *tests.values())]
    for pair in result["pairs"]:
        scores = (f"{pair[kind]['difference']:+.4f} {_interval(pair[kind], '+.4f')}" for kind in KINDS)
        p_values = (_number(pair[name], ".4f") for name in tests)
        rows.append((pair["split"], f"{numbers[pair['second']]} - {numbers[pair['first']]}", *scores, *p_values))
    return format_table(rows, left=(0, 1, 2, 3), rules=(1,))


def _notes(result: Mapping) -> str:
    """Returns the notes that explain each number of the tables."""
    images = ", ".join(_images(result, split) for split in result["num_images"])
    lines = [
        f"Scores: mean over {', '.join(result['report_classes'])}; best checkpoint of each run; images: {images}.",
        "Mean over seeds ± standard deviation (n - 1), and a 95 % interval over the seeds and images given above:",
        f"{result['interval']}. With one seed it covers images only.",
    ]
    if any(_is_grouped(result, split) for split in result["num_groups"]):
        lines.append(
            "Images of one group, such as a field of view, are alike: the units of intervals and p are the groups."
        )
    for split, num in result["num_groups"].items():
        if 1 in num and _is_grouped(result, split):
            lines.append(f"All images of {split} are one group, so {split} has no interval and no p.")
    if any(group["gap"] for group in result["groups"]):
        lines.append(f"{GAP}: the gap. Training images are scored whole and without augmentation.")
    if result["pairs"]:
        all_paired = all(pair["same_seeds"] for pair in result["pairs"])
        pairing = "by image and seed" if all_paired else "by image, and by seed where both have the same seeds"
        lines.append(f"Differences are paired {pairing}; intervals as above.")
        lines.append(
            "p: two-sided permutation test of the difference per image, averaged over seeds. It covers other images"
        )
        lines.append("for these trained networks; only the interval covers other seeds.")
        if len(result["groups"]) > 2:
            lines.append("p, Holm: corrected for all tests of a split.")
    lines += [_power(result, split) for split, found in result["power"].items() if found]
    if "train" in result["splits"] and len(result["num_images"]["train"]) > 1:
        lines.append(
            "No test on train between groups of different data.train_fraction: they were trained on different images."
        )
    return "\n".join(lines)


def _is_grouped(result: Mapping, split: str) -> bool:
    """Returns True if several images of a split are one group."""
    return result["num_groups"][split] != result["num_images"][split]


def _images(result: Mapping, split: str) -> str:
    """Returns the number of images of a split, and that of their groups where several are one group."""
    images, groups = (" or ".join(map(str, result[name][split])) for name in ("num_images", "num_groups"))
    return f"{split} {images} in {groups} groups" if _is_grouped(result, split) else f"{split} {images}"


def _power(result: Mapping, split: str) -> str:
    """Returns the line that says how many seeds and images, or groups of images, tell a small difference."""
    found = result["power"][split]
    units = f"{found['images']:,} {'groups of images' if _is_grouped(result, split) else 'images'}"
    if found["seeds"]:
        numbers = f"{found['seeds']:,} seeds and {units}"
    else:
        numbers = f"{units}; the spread of seeds is unknown with one seed"
    return f"To tell {found['difference']:g} of {pictures.TITLES[result['metric']]} with the spreads on {split} takes about {numbers}."


def write(result: Mapping, out: Path) -> list[Path]:
    """Writes the comparison into a folder; files of the same names are replaced.

    The files are `compare.json` (everything), `compare.csv` (a row for each group), `compare.png`, and `gap.png` where
    there are a gap and several fractions of the training images. An older `gap.png` is removed.

    Args:
      result: from `comparison.compare`.
      out: the folder.

    Returns:
      The paths of the files.
    """
    files: dict[str, Any] = {
        "compare.json": result,
        "compare.csv": [_row(group, result["metric"]) for group in result["groups"]],
        "compare.png": pictures.scores(result),
    }
    if all(group["gap"] for group in result["groups"]) and len(pictures.fractions(result)) > 1:
        files["gap.png"] = pictures.gap(result)
    with report_write_errors():
        (out / "gap.png").unlink(missing_ok=True)
    return write_results(out, files)


def _row(group: Mapping, metric: str) -> dict:
    row = {"group": group["name"], "num_seeds": len(group["seeds"]), "seeds": " ".join(map(str, group["seeds"]))}
    row |= {name: group[name] for name in ("parameters", "train_fraction", "num_train")}
    lines = dict(group["scores"]) | ({"gap": group["gap"]} if group["gap"] else {})
    for split, scores in lines.items():
        for kind in KINDS:
            values = {key: value for key, value in scores[kind].items() if key != "by_seed"}
            row |= {f"{split}/{metric}_{kind}/{key}": value for key, value in values.items()}
    return row


def _score(estimate: Mapping) -> str:
    std = _number(estimate["std"], ".4f").ljust(6)
    return f"{_number(estimate['mean'], '.4f')} ± {std} {_interval(estimate, '.4f')}"


def _interval(estimate: Mapping, form: str) -> str:
    return f"[{_number(estimate['low'], form)}, {_number(estimate['high'], form)}]"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
