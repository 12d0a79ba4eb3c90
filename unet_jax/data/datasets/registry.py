"""Loads data sets by name. Each row of the table is a function that prepares a data set and returns it.

In a job of several processes, process 0 prepares the data set. The others wait until it is done or has failed.
"""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import listing
from unet_jax.data.datasets.dsb2018 import load_dsb2018
from unet_jax.data.datasets.electrodes.builder import load_electrodes
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.data.datasets.isbi2012 import load_isbi2012
from unet_jax.data.datasets.options import check_values
from unet_jax.data.datasets.tfds_dataset import load_tfds
from unet_jax.data.store.borders import with_borders
from unet_jax.data.store.sources import Subset
from unet_jax.data.store.weight_map import check_sigma, with_weight_maps
from unet_jax.data.targets import BORDER_WIDTH, TARGET
from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.storage import json_file
from unet_jax.storage.paths import home_expanded

DATASETS: dict[str, Callable[..., Dataset]] = {
    "electrodes": load_electrodes,
    "image_folder": load_image_folder,
    "isbi2012": load_isbi2012,
    "dsb2018": load_dsb2018,
    # NAME is the first argument of the function.
    "tfds:NAME": load_tfds,
}
# The rows of the package; `experiment/imports.py` finds by them those that a user's file has added.
SHIPPED = dict(DATASETS)


def load_dataset(
    name: str,
    *,
    cache_dir: str = "",
    train_fraction: float = 1.0,
    weight_map: bool = False,
    weight_map_sigma: float = 5.0,
    targets: str = "masks",
    border_width: float = 2.0,
    **options: Any,
) -> Dataset:
    """Prepares a data set and returns it.

    The preparation runs once per content; later calls read the cache. Every process of a job must call this function, each
    the same number of times.

    >>> from unet_jax import data
    >>> dataset = data.load("electrodes", size=(32, 32), num_train=4, num_val=1, num_test=1)
    >>> dataset.splits, dataset.class_names
    ({'train': 4, 'val': 1, 'test': 1}, ('background', 'anode', 'cathode'))
    >>> example = dataset.source("train")[0]
    >>> example["image"].shape, example["mask"].shape
    ((32, 32, 1), (32, 32))

    Args:
      name: a row of `DATASETS`.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      train_fraction: fraction of the training images used, above 0 and at most 1; see `sources.Subset`.
      weight_map: True adds U-Net's weight map to the training examples; see `store.weight_map`.
      weight_map_sigma: width of that map in pixels.
      targets: "masks" for the masks of the data, "borders" for a third class between objects that touch; see `store.borders`.
      border_width: width of that class on each side in pixels.
      **options: the options of the data set.

    Raises:
      UserError: the name or an option is unknown, a value is outside its domain, or the weight map or the borders lack instances.
    """
    if not 0 < train_fraction <= 1:
        raise UserError(f"data.train_fraction {train_fraction}: give a number above 0 and at most 1")
    if weight_map:
        check_sigma(weight_map_sigma)
    TARGET.check("data.targets", targets)
    BORDER_WIDTH.check("data.border_width", border_width)

    def prepared() -> Dataset:
        dataset = _load(name, cache_dir, options)
        if weight_map:
            dataset = with_weight_maps(dataset, weight_map_sigma, cache_dir)
        return with_borders(dataset, border_width, cache_dir) if targets == "borders" else dataset

    # All data sets have the same barrier name. Otherwise processes with different files would wait at different barriers.
    # The others load after process 0: on a shared disk they find the prepared data, on a local disk they prepare it too.
    dataset = processes.process_0_first("load a data set", prepared)
    if train_fraction == 1:
        return dataset
    sources = {**dataset.sources, "train": Subset(dataset.source("train"), train_fraction)}
    return dataclasses.replace(dataset, sources=sources)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Checks the name of a data set and its options; reads no data.

    Args:
      name: as in `load_dataset`.
      options: the options of the data set by name.

    Raises:
      UserError: the name or an option is unknown, or a value has the wrong type or is outside its limits.
    """
    known = [option for option in inspect.signature(_loader(name)).parameters if option != "cache_dir"]
    for option in options:
        if option not in known:
            raise UserError(f"option {option!r} of data set {name!r} is unknown; choose one of {', '.join(known)}")
    row = "tfds:NAME" if name.startswith("tfds:") else name
    # A row of the user has its own options.
    if DATASETS[row] is SHIPPED.get(row):
        check_values(row, options)


def _loader(name: str) -> Callable[..., Dataset]:
    from_tfds = name.startswith("tfds:")
    if name not in DATASETS and not from_tfds:
        raise UserError(f"data set {name!r} is unknown; choose one of {', '.join(sorted(DATASETS))}")
    return functools.partial(DATASETS["tfds:NAME"], name.removeprefix("tfds:")) if from_tfds else DATASETS[name]


def _load(name: str, cache_dir: str, options: dict) -> Dataset:
    options = json_file.tuples(options)
    check_options(name, options)
    _check_root(options.get("root", ""))
    return _loader(name)(cache_dir=cache_dir, **options)


def _check_root(root: object) -> None:
    """Raises UserError if there is no such folder on the disk, or its name cannot be printed."""
    if isinstance(root, str) and not listing.is_utf8(root):
        raise UserError(f"data.root={root}: {listing.NOT_UTF8}")
    if not isinstance(root, str) or not root or "://" in root or os.path.exists(home_expanded(root)):
        return
    looked = "" if os.path.isabs(home_expanded(root)) else f" in {os.getcwd()}"
    raise UserError(
        f"data.root={root}: there is no such folder{looked}; set data.root to the folder of the data. For a run that is trained, "
        "give the folder with --root"
    )
