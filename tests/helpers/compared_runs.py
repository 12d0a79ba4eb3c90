"""Writes made-up runs to compare: a config, a checkpoint of one number, and files of pixel counts as evaluation writes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_jax.configs import default
from unet_jax.evaluation import jackknife

# Steps of the best and of the latest checkpoint.
STEP, LATER = 3, 6
NAMES = ("background", "anode", "cathode")
SPLITS = {"train": 8, "val": 6}


def write_run(
    folder: Path,
    checkpoints: Path,
    name: str,
    fingerprint: str = "ab" * 32,
    class_names: Sequence[str] = NAMES,
    **values: Any,
) -> Path:
    """Writes a run with scores on train and val, and returns its workdir.

    Args:
      folder: the folder that gets the workdir.
      checkpoints: the checkpoints to copy.
      name: name of the workdir.
      fingerprint: fingerprint of the data.
      class_names: classes of the data.
      **values: values of the config, with `__` for the dot in a key.
    """
    config = default.get_config()
    config.model.widths, config.train.num_steps = (2, 4), LATER
    values = {key.replace("__", "."): value for key, value in values.items()}
    if values.get("model.name") == "unet":
        config.model = default.unet()
        config.model.widths = (2, 4)
    config.update_from_flattened_dict(values)
    workdir = folder / name
    shutil.copytree(checkpoints, workdir / "checkpoints")
    (workdir / "config.json").write_text(config.to_json())
    (workdir / "metrics.jsonl").write_text("")
    num_train = round(SPLITS["train"] * config.data.train_fraction)
    facts = {"fingerprint": fingerprint, "class_names": list(class_names), "channels": 1, "overlapping": False}
    facts |= {"splits": SPLITS | {"train": num_train}, "palette": [], "dtype": "uint8"}
    (workdir / "versions.json").write_text(json.dumps({"data": facts, "starts": []}))
    for split, num in facts["splits"].items():
        write_scores(workdir, split, some_counts(num, [*name.encode(), len(split)]))
    return workdir


def some_counts(num_images: int, seed: int | Sequence[int]) -> dict[str, np.ndarray]:
    """Draws tp, fp, fn `[N, 3]`; the last image lacks the last class."""
    rng = np.random.default_rng(seed)
    count = {name: rng.integers(10, 60, (num_images, 3)) for name in jackknife.COUNTS}
    for values in count.values():
        values[-1, 2] = 0
    return count


def write_scores(
    workdir: Path,
    split: str,
    count: Mapping[str, np.ndarray],
    ids: Sequence[str] = (),
    fingerprint: str = "ab" * 32,
    groups: Sequence[str] = (),
    **about: Any,
) -> None:
    """Writes WORKDIR/eval/SPLIT.json, with the images not in the order of their ids; without groups as version 0.2 did."""
    num = len(count["tp"])
    rows = [
        {f"{kind}/{name}": int(count[kind][i, k]) for kind in count for k, name in enumerate(NAMES)}
        | {"id": ids[i] if ids else f"{split} {i}", "index": i}
        | ({"group": groups[i]} if groups else {})
        for i in range(num)
    ]
    content = {"split": split, "step": STEP, "mode": "accurate", "level": 0, "fingerprint": fingerprint} | about
    (workdir / "eval").mkdir(exist_ok=True)
    path = workdir / "eval" / f"{split}.json"
    path.write_text(
        json.dumps({key: value for key, value in content.items() if value is not None} | {"images": rows[::-1]})
    )


def kept(workdir: Path, split: str) -> dict[str, np.ndarray]:
    """Returns the counts `[N, 2]` of anode and cathode that `write_run` wrote."""
    num = json.loads((workdir / "versions.json").read_text())["data"]["splits"][split]
    count = some_counts(num, [*workdir.name.encode(), len(split)])
    return {kind: values[:, 1:] for kind, values in count.items()}


def plain(count: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, float]:
    """Computes pooled and per-image IoU of some images, class by class."""
    pooled, per_image = [], []
    for k in range(2):
        tp, fp, fn = (count[kind][images, k] for kind in ("tp", "fp", "fn"))
        union = tp + fp + fn
        pooled.append(tp.sum() / union.sum() if union.sum() else np.nan)
        per_image.append((tp[union > 0] / union[union > 0]).mean() if union.sum() else np.nan)
    return {"pooled": float(np.nanmean(pooled)), "image": float(np.nanmean(per_image))}
