"""Reads `dsb2018`: nuclei of the Data Science Bowl 2018, stage 1, as its organisers ship it (BBBC038, public domain).

    ROOT/stage1_train/ID/images/ID.png   the image, RGBA
    ROOT/stage1_train/ID/masks/*.png     one picture per nucleus, 0 outside it

ROOT may also be the folder `stage1_train` itself. Classes: 0 background, 1 nucleus. Instances are numbered in the order of
the masks' names; a pixel of two nuclei belongs to the first. An image whose channels are all equal is read as grey. If all
images are grey, the data set has one channel; else all images become RGB.

Leakage: many images are tiles of one field of view, cut apart and shuffled. A split by image puts tiles of one field into
several splits, and the score is too high. Most published figures for these data have this fault. Without splits in a split
file, `fields_of_view` finds the fields from the tiles' edges. Each field is then a `group`, and whole fields are divided. A
split file with splits is used as it is: `group` is its column, else the id. If it has no groups, a line on stderr warns.

No split is published, and the original masks have known errors. Polarity and brightness differ: most images are
fluorescence, with bright nuclei on a dark ground; stained tissue and bright field have dark nuclei on a bright ground.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import fields_of_view, file_examples, image_files, listing, splits
from unet_jax.data.datasets.file_examples import Row
from unet_jax.data.datasets.from_files import FromFiles, dataset_from_files
from unet_jax.data.store.cache import file_digests, read_error, remember
from unet_jax.data.store.code_digest import code_digest
from unet_jax.errors import UserError, raise_error
from unet_jax.storage import paths
from unet_jax.storage.digests import json_sha256

CLASS_NAMES = ("background", "nucleus")
LAYOUT = "ID/images/ID.png and ID/masks/*.png"


class Dsb2018(FromFiles):
    """Reads an image and the masks of its nuclei."""

    @staticmethod
    def read(
        row: Row, reading: Mapping[str, Any], on_error: Callable[[UserError], None] = raise_error
    ) -> dict[str, np.ndarray]:
        """Returns image, mask and instances of one example; see `file_examples.ReadExample`."""
        image = read_image(row.paths[0])
        instances = np.zeros(image.shape[:2], np.uint16)
        for number, path in enumerate(row.paths[1:], 1):
            labels = image_files.read_labels(path)
            image_files.check_size(labels, path, image)
            nucleus = labels.any(-1) if labels.ndim == 3 else labels > 0
            instances[nucleus & (instances == 0)] = number
        return {"image": image, "mask": (instances > 0).astype(np.uint8), "instances": instances}


def read_image(path: str) -> np.ndarray:
    """Returns the image without alpha, uint8 `[H, W, C]`; C is 1 if all channels are equal, else 3."""
    image = image_files.read_image(path)
    return image[..., :1] if (image == image[..., :1]).all() else image


def load_dsb2018(
    root: str = "",
    *,
    cache_dir: str = "",
    split_file: str = "",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Dataset:
    """Returns the data set in `root`, prepared once per content.

    Args:
      root: the folder that holds stage1_train, or stage1_train itself.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      split_file: a CSV `id,split[,group]`; images that it does not name are left out.
      split_fractions: fractions of train, val and test, used if no split file gives the splits. A hash of a field's name
        chooses its split.

    Raises:
      UserError: the layout is different, a file cannot be read, or sizes differ.
    """
    split_fractions = splits.check_fractions(split_fractions)
    base, ids = _find_stage1_train(root)
    images = {id_: str(base / id_ / "images" / f"{id_}.png") for id_ in ids}
    for path in images.values():
        listing.check_file(path)
    assigned = splits.assign(ids, split_fractions, split_file, groups=lambda: _fields(images, cache_dir))
    rows = file_examples.by_split(assigned, lambda id_: (images[id_], *_masks(base / id_)))
    return dataset_from_files(
        Dsb2018,
        rows,
        readers=(__file__,),
        reading={},
        known_classes=len(CLASS_NAMES),
        class_names=CLASS_NAMES,
        instances=True,
        remedy="set data.split_fractions, or data.split_file to a CSV of id,split",
        cache_dir=cache_dir,
    )


def _find_stage1_train(root: str) -> tuple[Path, list[str]]:
    """Returns the folder stage1_train and the ids in it, sorted."""
    if not root:
        raise UserError("dsb2018: root is not set; set it to the folder that holds stage1_train")
    above = paths.expand(root, "data.root")
    try:
        for base in (above / "stage1_train", above):
            ids = sorted(path.parts[-3] for path in paths.glob(base, "*/images/*.png") if path.stem == path.parts[-3])
            if ids:
                _check_images_exist(base, ids)
                return base, ids
    except OSError as error:
        raise read_error(root, error) from error
    raise UserError(
        f"dsb2018: {root} holds neither stage1_train/ID/images/ID.png nor ID/images/ID.png; set root to the folder into "
        f"which stage1_train.zip was unpacked, {LAYOUT} (for one mask per image use image_folder)"
    )


def _check_images_exist(base: Path, ids: list[str]) -> None:
    """Raises UserError for a folder that has masks/ or images/ but no image: such a copy is broken."""
    lacking = sorted(
        {path.parent.name for part in ("images", "masks") for path in paths.glob(base, f"*/{part}")} - set(ids)
    )
    if lacking:
        raise UserError(
            f"{base / lacking[0]}: has no images/{lacking[0]}.png; unpack stage1_train.zip again ({LAYOUT}), or remove the "
            f"folder ({len(lacking)} such folders)"
        )


def _masks(folder: Path) -> list[str]:
    if not (folder / "masks").is_dir():
        raise UserError(f"{folder}: has no masks/*.png; unpack stage1_train.zip again ({LAYOUT})")
    others: list[Path] = []
    masks = list(listing.list_images(folder / "masks", on_other=others.append).values())
    others += [path for path in masks if path.suffix.lower() != ".png"]
    if others:
        raise UserError(f"{others[0]}: is no PNG, so it is no mask of {LAYOUT}; move it away")
    if not masks:
        raise UserError(f"{folder}: has no masks/*.png; unpack stage1_train.zip again ({LAYOUT})")
    return sorted(map(str, masks))


def _fields(images: dict[str, str], cache_dir: str) -> dict[str, str]:
    """Returns the field of view of each image by id, found once per content."""
    code = code_digest((fields_of_view.__file__, __file__))
    digests = file_digests(images.values(), cache_dir)
    return remember(
        json_sha256([code, [(id_, digests[path]) for id_, path in images.items()]]),
        lambda: fields_of_view.find_fields((id_, read_image(path)) for id_, path in images.items()),
        cache_dir,
    )
