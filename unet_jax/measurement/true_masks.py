"""True masks from files, whose objects are measured as predicted ones are.

A folder of masks holds either images of class ids, or a folder for each class with masks that may overlap, as `unet-jax predict`
writes them to masks/: a pixel that is not 0 belongs to the class.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets import classes, image_files, listing
from unet_jax.data.datasets.folder import pages
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.inference.inputs import Input, find_inputs
from unet_jax.inference.outputs import safe_name
from unet_jax.inference.record import stamp
from unet_jax.segmentation import VOID_ID, true_masks
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.paths import expand


class TrueMasks:
    """The true masks of images, in a folder.

    Args:
      root: the folder, local.
      class_names: names by class id, the background first; () for background, class_1, ..., or the names of the folders.
      mask_values: values by class id; see `image_files.read_mask`.
      measured: the classes whose objects are measured; () for all but the background.
      how: how the files of the images are read. Masks are read so, too, without the channels.

    Attributes:
      how: as given.
      names: the classes whose objects are measured.
      channels: of `read`, one for each of `names`.
      how_masks: how the files of the masks are read.
      images: the mask files by the name of the image; with a folder for each class, those of the first class.

    Raises:
      UserError: the folder has no mask, a class has no folder, a mask is missing or cannot be read, or its values are not
        those of the classes: they may be other classes, numbers of instances, or 255 for a class.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        class_names: Sequence[str] = (),
        mask_values: Sequence[int] = (),
        measured: Sequence[str] = (),
        how: Reading = image_files.AS_STORED,
    ):
        self.how = how
        self.how_masks = pages.of_masks(how)
        self._root = expand(root, "--truth")
        self._mask_values = tuple(mask_values)
        if not self._root.is_dir():
            raise UserError(f"--truth={self._root}: is no folder; give a folder of masks")
        self._by_class = not listing.list_images(self._root, on_other=lambda _: None)
        if self._by_class:
            if mask_values:
                raise UserError(
                    f"--mask_values={','.join(map(str, mask_values))}: --truth={self._root} has a folder for each class, where a "
                    "pixel above 0 is of the class; leave it out"
                )
            if class_names and not measured and (self._root / class_names[0]).is_dir():
                raise UserError(
                    f"--class_names={','.join(class_names)}: the first is the background, which is not measured, and "
                    f"--truth={self._root} has a folder of it; put background before it, or leave --class_names out"
                )
            self.names = tuple(measured or class_names[1:]) or tuple(
                sorted(path.name for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))
            )
            if not self.names:
                raise UserError(f"--truth={self._root}: holds neither masks nor a folder of masks for each class")
            places = [self._place(name) for name in self.names]
            self._files = [
                {image.name: image for image in find_inputs([place], how=self.how_masks).images} for place in places
            ]
            self.channels = list(range(len(self.names)))
        else:
            self._files = [{image.name: image for image in find_inputs([self._root], how=self.how_masks).images}]
            self._num_classes = self._count_classes(class_names)
            class_names = class_names or ("background", *(f"class_{number}" for number in range(1, self._num_classes)))
            self.names = tuple(measured or class_names[1:])
            unknown = [name for name in self.names if name not in class_names]
            if unknown:
                raise UserError(
                    f"--class_names={','.join(class_names)}: the class {unknown[0]}, which the network finds, is not one of them"
                )
            self.channels = [list(class_names).index(name) for name in self.names]
        self.images = self._files[0]
        for name, files in zip(self.names, self._files, strict=False):
            missing = sorted(set(self.images) ^ set(files))
            if missing:
                raise UserError(
                    f"--truth={self._root}: the class {name} has other masks than {self.names[0]}: {missing[0]}"
                )

    def _count_classes(self, class_names: Sequence[str]) -> int:
        """Reads all masks, and returns the number of classes."""
        known, _, _ = classes.check_class_settings(class_names, 0, self._mask_values, ())
        images = self._files[0].values()
        paths = [image.path for image in images]
        stats = [classes.mask_stats(self._read_ids(image), known) for image in images]
        try:
            return classes.count_classes([str(path) for path in paths], stats, known, self._mask_values)
        except UserError as error:
            raise UserError(f"--truth: {error}; the flags are --class_names and --mask_values") from error

    def _place(self, name: str) -> Path:
        place = next((self._root / one for one in (name, safe_name(name)) if (self._root / one).is_dir()), None)
        if place is None:
            raise UserError(f"--truth={self._root}: has no folder of the class {name}, {safe_name(name)}/")
        return place

    def settings(self) -> dict[str, Any]:
        """Returns what decides the masks, beside the files of `images`, as JSON-able values."""
        others = [stamp(image.path) for files in self._files[1:] for image in files.values()]
        return {
            "truth": list(self.names),
            "mask_values": list(self._mask_values),
            "masks_sha256": json_sha256(others),
        }

    def _read_values(self, image: Input) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the values of a mask, and its palette."""
        return pages.read_labels(str(image.path), None if image.page is None else image.number, self.how_masks)

    def _read_ids(self, image: Input) -> np.ndarray:
        return image_files.mask_of(image.path, *self._read_values(image), self._mask_values).ids

    def read(self, name: str) -> np.ndarray:
        """Returns the masks of an image, bool `[H, W, K]`.

        Raises:
          UserError: a file cannot be read, or the masks differ in size.
        """
        if not self._by_class:
            ids = self._read_ids(self.images[name])
            # Void belongs to no object.
            return true_masks(np.where(ids == VOID_ID, 0, ids), self._num_classes)[0]
        masks: list[np.ndarray] = []
        for files in self._files:
            values = self._read_values(files[name])[0]
            if values.ndim != 2:
                raise UserError(f"{files[name].path}: the mask of a class must be grey, 0 where the class is not")
            if masks and values.shape != masks[0].shape:
                raise UserError(f"{files[name].path}: has another size than the mask of {self.names[0]}")
            masks.append(values > 0)
        return np.stack(masks, -1)

    def check_images(self, names: Sequence[str]) -> None:
        """Checks that each image has masks.

        Raises:
          UserError: one has none.
        """
        missing = sorted(set(names) - set(self.images))
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"--truth={self._root}: has no mask of the image {missing[0]}{more}; a mask has the name of its image"
            )
