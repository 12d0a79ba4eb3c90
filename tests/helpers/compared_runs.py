"""Made-up runs to compare: a config, a checkpoint of one number, and files of pixel counts as an evaluation leaves them."""

import json
import shutil

import numpy as np

from unet_jax.configs import default
from unet_jax.evaluation import bootstrap

# The best checkpoint, and the latest.
STEP, LATER = 3, 6
NAMES = ("background", "anode", "cathode")
SPLITS = {"train": 8, "val": 6}


def write_run(folder, checkpoints, name, fingerprint="ab" * 32, class_names=NAMES, **values):
    """Writes a run, scored on train and val, and returns its workdir; `values` are of the config, `__` for a dot in a key."""
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


def some_counts(num_images, seed):
    """tp, fp, fn [N, 3]; the last image lacks the last class."""
    rng = np.random.default_rng(seed)
    count = {name: rng.integers(10, 60, (num_images, 3)) for name in bootstrap.COUNTS}
    for values in count.values():
        values[-1, 2] = 0
    return count


def write_scores(workdir, split, count, ids=(), fingerprint="ab" * 32, **about):
    """WORKDIR/eval/SPLIT.json, the images in another order than that of their ids."""
    num = len(count["tp"])
    rows = [
        {f"{kind}/{name}": int(count[kind][i, k]) for kind in count for k, name in enumerate(NAMES)}
        | {"id": ids[i] if ids else f"{split} {i}", "index": i}
        for i in range(num)
    ]
    content = {"split": split, "step": STEP, "mode": "accurate", "level": 0, "fingerprint": fingerprint} | about
    (workdir / "eval").mkdir(exist_ok=True)
    path = workdir / "eval" / f"{split}.json"
    path.write_text(
        json.dumps({key: value for key, value in content.items() if value is not None} | {"images": rows[::-1]})
    )


def kept(workdir, split):
    """The counts [N, 2] of anode and cathode that a run was given."""
    num = json.loads((workdir / "versions.json").read_text())["data"]["splits"][split]
    count = some_counts(num, [*workdir.name.encode(), len(split)])
    return {kind: values[:, 1:] for kind, values in count.items()}


def plain(count, images):
    """Pooled and per-image IoU of some images, class by class."""
    pooled, per_image = [], []
    for k in range(2):
        tp, fp, fn = (count[kind][images, k] for kind in ("tp", "fp", "fn"))
        union = tp + fp + fn
        pooled.append(tp.sum() / union.sum() if union.sum() else np.nan)
        per_image.append((tp[union > 0] / union[union > 0]).mean() if union.sum() else np.nan)
    return {"pooled": np.nanmean(pooled), "image": np.nanmean(per_image)}
