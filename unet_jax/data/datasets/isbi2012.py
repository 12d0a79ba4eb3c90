"""Reads `isbi2012`: membranes in electron micrographs, from the challenge of ISBI 2012, as its organisers ship it.

    ROOT/train-volume.tif   30 slices of 512 x 512 pixels, 8-bit grey
    ROOT/train-labels.tif   the labels of these slices: 255 in a cell's interior, 0 on a membrane

Classes: 0 interior, 1 membrane. The raw labels are the other way round: a published score for the value 255 is a score of
the interior. The interior covers four fifths of the pixels, and its score is much higher than that of the membranes.

The slices are one block of tissue from top to bottom. Neighbours are near copies, so a split by single slices would measure
memory. Without a split file the first 20 slices are train, the next 4 val and the last 6 test, and each of these blocks is
one `group`. An id is the number of the slice, "00" to "29".

Instances are the cells as the challenge scores them: the 4-connected parts of the interior of one slice. A cell whose parts
meet only in another slice has several numbers. The same number in two slices means nothing.

The labels of `test-volume.tif` are not published. The data may be used for non-commercial work on segmentation; cite
Cardona et al. 2010 (PLoS Biology 8(10): e1000502).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import skimage.measure
from etils.epath import Path

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import file_examples, image_files, listing, splits
from unet_jax.data.datasets.file_examples import Row
from unet_jax.data.datasets.from_files import FromFiles, dataset_from_files
from unet_jax.data.store.cache import stamp
from unet_jax.errors import UserError, raise_error
from unet_jax.storage.paths import expand

CLASS_NAMES = ("interior", "membrane")
# Raw values of the two classes.
RAW_VALUES = (255, 0)
NUM_SLICES = 30
NAMES = ("train-volume.tif", "train-labels.tif")
# Split of each block; a block is named after its first and last slice.
BLOCKS = {"00-19": "train", "20-23": "val", "24-29": "test"}


class Isbi2012(FromFiles):
    """Reads the slice of both stacks that has the id as its number."""

    @staticmethod
    def read(
        row: Row, reading: Mapping[str, Any], on_error: Callable[[UserError], None] = raise_error
    ) -> dict[str, np.ndarray]:
        """Returns image, mask and instances of one slice; see `file_examples.ReadExample`."""
        image, labels = (_pages(path)[int(row.id)] for path in row.paths)
        image_files.check_size(labels, row.paths[1], image)
        mask = image_files.to_ids(labels, row.paths[1], reading["raw_values"])
        instances = skimage.measure.label(mask == 0, connectivity=1).astype(np.uint16)
        return {"image": image[..., None], "mask": mask, "instances": instances}


def load_isbi2012(root: str = "", *, cache_dir: str = "", split_file: str = "") -> Dataset:
    """Returns the data set of the two files in `root`, prepared once per content.

    Args:
      root: the folder that holds both files.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      split_file: a CSV `id,split[,group]` for slices "00" to "29"; slices that it does not name are left out. "" means the
        blocks described above.

    Raises:
      UserError: a file is missing, is not a stack of 30 8-bit slices, or holds labels that are neither 0 nor 255.
    """
    if not root:
        raise UserError(f"isbi2012: root is not set; set it to the folder that holds {' and '.join(NAMES)}")
    base = expand(root, "data.root")
    paths = tuple(str(base / name) for name in NAMES)
    for path in paths:
        listing.check_file(path)
    missing = [name for name, path in zip(NAMES, paths, strict=True) if not Path(path).is_file()]
    if missing:
        raise UserError(
            f"isbi2012: {root} has no {' and no '.join(missing)}; put {' and '.join(NAMES)} there, the stacks of 30 slices "
            "of the challenge (for single pictures use image_folder)"
        )
    for path in paths:
        if len(_pages(path)) != NUM_SLICES:
            raise UserError(
                f"{path}: holds {len(_pages(path))} slices instead of {NUM_SLICES}; copy the original again"
            )
    block_of = {f"{slice_:02}": block for block in BLOCKS for slice_ in range(int(block[:2]), int(block[3:]) + 1)}
    assigned = {id_: (BLOCKS[block], block) for id_, block in block_of.items()}
    if split_file:
        assigned = splits.assign(block_of, None, split_file)
    reading = {"raw_values": RAW_VALUES}
    return dataset_from_files(
        Isbi2012,
        file_examples.by_split(assigned, lambda id_: paths),
        readers=(__file__,),
        reading=reading,
        known_classes=len(CLASS_NAMES),
        class_names=CLASS_NAMES,
        instances=True,
        remedy="set data.split_file to a CSV of id,split",
        cache_dir=cache_dir,
    )


def _pages(path: str) -> np.ndarray:
    return _read_pages(path, stamp(path))


@functools.lru_cache(2)
def _read_pages(path: str, changed: str) -> np.ndarray:
    """Returns all slices of a stack, which is read once; `changed` is the file's stamp."""
    return image_files.read_pages(path)
