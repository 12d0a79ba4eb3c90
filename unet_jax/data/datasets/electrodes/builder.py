"""`electrodes`: synthetic edge-on X-rays of a stacked battery, the data set that needs no download.

Anodes and cathodes alternate, clamped at one side of the image; at the other the anodes protrude by the overhang, which is
what an inspection measures. `electrodes_stack` draws the geometry, `electrodes_physics` the image of it.

Classes: 0 background, 1 anode, 2 cathode. A pixel belongs to a plate when the ray through its centre runs inside the
plate for at least half of the plate's depth along the beam; of a plate with a folded corner, each part counts by itself.
Where plates overlap in projection, the overlapping masks set every class present. Ids and instances show one plate:
cathodes lie over anodes, and of two plates of one kind the lower in the image lies over the upper.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from unet_jax.data.dataset import SPLITS, Dataset
from unet_jax.data.datasets.electrodes import physics as xray
from unet_jax.data.datasets.electrodes import stack
from unet_jax.data.datasets.electrodes.render import CLASS_NAMES, _check, _physics, render
from unet_jax.data.store.builder import Builder, prepare


class Electrodes(Builder):
    """The data set as TFDS stores it: the Example with instances, and `plates`, the metadata as JSON."""

    name = "electrodes"

    def counts(self) -> dict[str, int]:
        return self.settings["counts"]

    def example(self, split: str, index: int) -> dict[str, Any]:
        # Splits take turns, so that they share no image, and one that grows keeps those it had.
        index = index * len(SPLITS) + SPLITS.index(split)
        of_render = {key: self.settings[key] for key in ("seed", "bits", "physics")}
        truth = render(index=index, size=tuple(self.settings["size"]), **of_render)
        name = f"{self.settings['seed']}-{index}"
        return {
            "image": truth["image"],
            "mask": truth["overlapping" if self.settings["overlapping"] else "mask"],
            "instances": truth["instances"],
            "id": name,
            "group": name,
            "plates": json.dumps(truth["plates"]),
        }

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        features = dict(info.features) | {"plates": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )


def load_electrodes(
    *,
    cache_dir: str = "",
    size: tuple[int, int] = (128, 128),
    bits: int = 8,
    seed: int = 0,
    num_train: int = 160,
    num_val: int = 32,
    num_test: int = 32,
    overlapping: bool = False,
    physics: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set, prepared once; `size` (px), `bits`, `seed` and `physics` as in `render`.

    `overlapping` gives masks `[H, W, 3]` instead of ids. Example i of train, val and test is `render(seed, 3 i)`,
    `3 i + 1` and `3 i + 2`; its feature `plates` is the metadata as JSON. Raises UserError as `render` does.
    """
    _check(seed=seed, num_train=num_train, num_val=num_val, num_test=num_test, size=size, bits=bits)
    _physics(physics)
    config = {
        "seed": seed,
        "size": list(size),
        "bits": bits,
        "physics": {key: value if np.isscalar(value) else list(value) for key, value in (physics or {}).items()},
        "counts": dict(zip(SPLITS, (num_train, num_val, num_test), strict=True)),
        "channels": 1,
        "dtype": f"uint{bits}",
        "overlapping": bool(overlapping),
        "num_classes": len(CLASS_NAMES),
        "instances": True,
    }
    fingerprint = _fingerprint(config)
    return Dataset(
        name="electrodes",
        class_names=CLASS_NAMES,
        channels=1,
        overlapping=bool(overlapping),
        fingerprint=fingerprint,
        dtype=config["dtype"],
        sources=prepare(Electrodes, config, fingerprint, cache_dir),
        remedy="set data.num_train, data.num_val or data.num_test",
    )


def best_threshold_iou(images: np.ndarray, masks: np.ndarray, class_id: int) -> float:
    """The best IoU with a class that one grey threshold reaches, of either polarity, over all pixels pooled.

    images and masks (ids): integer arrays of the same number of pixels. NaN when the class is absent.
    """
    levels, grey = np.unique(images, return_inverse=True)
    is_class = (np.asarray(masks) == class_id).ravel()
    total = np.bincount(grey.ravel(), minlength=levels.size)
    hits = np.bincount(grey.ravel()[is_class], minlength=levels.size)
    if not hits.any():
        return float("nan")
    best = 0.0
    for order in (slice(None), slice(None, None, -1)):
        found, marked = hits[order].cumsum(), total[order].cumsum()
        best = max(best, float((found / (marked + hits.sum() - found)).max()))
    return best


def _fingerprint(config: dict) -> str:
    """The images follow from the config and this code, so both are hashed."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for module in (__file__, xray.__file__, stack.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()
