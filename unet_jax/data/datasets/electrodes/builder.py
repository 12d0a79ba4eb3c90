"""Builds `electrodes`: synthetic edge-on X-rays of a stacked battery. This data set needs no download.

Anodes and cathodes alternate and are clamped at one side of the image. At the other side the anodes protrude by the
overhang, which an inspection measures. `stack` draws the geometry, `physics` computes its image, and `render` combines them.

Classes: 0 background, 1 anode, 2 cathode. A pixel belongs to a plate if the ray through its centre runs inside the plate for
at least half of the plate's depth along the beam. If a corner of the plate is folded, this holds for each part separately.
Where plates overlap in projection, the overlapping masks set every class that is present. Ids and instances show one plate:
a cathode lies over an anode, and of two plates of the same kind the lower one in the image lies over the upper one.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from unet_jax.data.dataset import SPLITS, Dataset
from unet_jax.data.datasets.electrodes import physics as xray
from unet_jax.data.datasets.electrodes import render as rendering
from unet_jax.data.datasets.electrodes import stack
from unet_jax.data.store.builder import Builder, prepare
from unet_jax.data.store.code_digest import code_digest
from unet_jax.storage.digests import json_sha256


class Electrodes(Builder):
    """Stores the rendered X-rays. Each Example has instances, and `plates`, the metadata of the plates as JSON."""

    name = "electrodes"

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each split."""
        return self.settings["counts"]

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Renders the image at `index` of `split`."""
        # The splits take the images in turn. So they share none, and a split that grows keeps the images it had.
        index = index * len(SPLITS) + SPLITS.index(split)
        options = {key: self.settings[key] for key in ("seed", "bits", "physics")}
        truth = rendering.render(index=index, size=tuple(self.settings["size"]), **options)
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
    """Returns the data set, prepared once.

    Example i is `render(seed, 3 * i)` in train, `render(seed, 3 * i + 1)` in val and `render(seed, 3 * i + 2)` in test. Its
    feature `plates` is the metadata of the plates as JSON.

    Args:
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      size: (height, width) in pixels, as in `render`.
      bits: bits per pixel, 8 or 16.
      seed: as in `render`.
      num_train: number of training images.
      num_val: number of validation images.
      num_test: number of test images.
      overlapping: True for 0/1 masks `[H, W, 3]` instead of ids.
      physics: as in `render`.

    Raises:
      UserError: an argument is outside its domain.
    """
    rendering.check_settings(seed=seed, num_train=num_train, num_val=num_val, num_test=num_test, size=size, bits=bits)
    rendering.to_physics(physics)
    config = {
        "seed": seed,
        "size": list(size),
        "bits": bits,
        "physics": {key: value if np.isscalar(value) else list(value) for key, value in (physics or {}).items()},
        "counts": dict(zip(SPLITS, (num_train, num_val, num_test), strict=True)),
        "channels": 1,
        "dtype": f"uint{bits}",
        "overlapping": bool(overlapping),
        "num_classes": len(rendering.CLASS_NAMES),
        "instances": True,
    }
    fingerprint = _fingerprint(config)
    return Dataset(
        name="electrodes",
        class_names=rendering.CLASS_NAMES,
        channels=1,
        overlapping=bool(overlapping),
        fingerprint=fingerprint,
        dtype=f"uint{bits}",
        sources=prepare(Electrodes, config, fingerprint, cache_dir),
        remedy="set data.num_train, data.num_val or data.num_test",
    )


def _fingerprint(config: dict) -> str:
    """Returns the hash of the config and of the code that makes the images."""
    return json_sha256([config, code_digest((__file__, rendering.__file__, xray.__file__, stack.__file__))])
