"""Data sets by name: each row is a function of keyword arguments that prepares a data set and returns it.

Of the processes of one job the first does all of that, well or not, while the others wait.
"""

import dataclasses
import functools
import inspect

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets.dsb2018 import load_dsb2018
from unet_jax.data.datasets.electrodes.builder import load_electrodes
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.data.datasets.isbi2012 import load_isbi2012
from unet_jax.data.datasets.tfds_dataset import load_tfds
from unet_jax.data.store.sources import Subset
from unet_jax.data.store.weight_map import check_sigma, with_weight_maps
from unet_jax.errors import UserError
from unet_jax.runtime import parallel

DATASETS = {
    "electrodes": load_electrodes,
    "image_folder": load_image_folder,
    "isbi2012": load_isbi2012,
    "dsb2018": load_dsb2018,
    "tfds:NAME": load_tfds,  # whose first argument is the NAME
}


def load_dataset(
    name: str,
    *,
    cache_dir: str = "",
    train_fraction: float = 1.0,
    weight_map: bool = False,
    weight_map_sigma: float = 5.0,
    **options,
) -> Dataset:
    """Prepares the data set `name` with its `options` (once per content; later calls read the cache) and returns it.

    `cache_dir` "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data. Of the training images `train_fraction` is used, see
    `sources.Share`. With `weight_map` each of them has its map of weights, of `weight_map_sigma` pixels, see
    `weight_map`. Raises `UserError` on an unknown name or option, on such a share or sigma, and where there are no
    instances to make maps of. Every process of a job must call this, equally often.
    """
    if not 0 < train_fraction <= 1:
        raise UserError(f"data.train_fraction {train_fraction} must be above 0 and at most 1")
    if weight_map:
        check_sigma(weight_map_sigma)

    def prepared() -> Dataset:
        dataset = _load(name, cache_dir, options)
        return with_weight_maps(dataset, weight_map_sigma, cache_dir) if weight_map else dataset

    # One name for all: processes whose files differ would wait for each other at barriers of different names. The others
    # look only then: on a shared disk they find what was hashed, checked and prepared, on their own they do it, too.
    dataset = parallel.process_0_first("load a data set", prepared)
    if train_fraction == 1:
        return dataset
    sources = dataset.sources | {"train": Subset(dataset.source("train"), train_fraction)}
    return dataclasses.replace(dataset, sources=sources)


def _load(name: str, cache_dir: str, options: dict) -> Dataset:
    of_tfds = name.startswith("tfds:")
    if name not in DATASETS and not of_tfds:
        raise UserError(f"data set {name!r} is unknown; known: {', '.join(sorted(DATASETS))}")
    create = functools.partial(DATASETS["tfds:NAME"], name.removeprefix("tfds:")) if of_tfds else DATASETS[name]
    known = [option for option in inspect.signature(create).parameters if option != "cache_dir"]
    for option in options:
        if option not in known:
            raise UserError(f"data set {name!r} has no option {option!r}; it has: {', '.join(known)}")
    return create(cache_dir=cache_dir, **options)
