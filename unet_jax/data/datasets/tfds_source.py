"""Gives random access to the examples of a prepared TensorFlow Datasets set; see `tfds_dataset`."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from unet_jax.data.datasets import image_files
from unet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names the features from which an Example is made.

    Attributes:
      image: feature that holds the image.
      mask: feature that holds the mask.
      id_: feature whose value is the id, or "" for none.
    """

    image: str
    mask: str
    id_: str


class TfdsSource:
    """Gives random access to a part of a prepared set: `len(source)` and `source[index]`, which is an Example.

    Attributes:
      channels: number of channels to which a grey image is repeated; 0 keeps the channels of each image.
    """

    def __init__(self, builder: Any, split: str, expression: str, keys: Keys, mask_values: Sequence[int]):
        features = builder.info.features
        skipped = {k for k, v in features.items() if isinstance(v, tfds.features.Image)} - {keys.image, keys.mask}
        whole = {key: tfds.decode.SkipDecoding() for key in skipped}
        self._records = builder.as_data_source(expression, decoders=whole)
        encoded = {key: tfds.decode.SkipDecoding() for key in (keys.image, keys.mask) if _is_image(features[key])}
        self._encoded = builder.as_data_source(expression, decoders=whole | encoded)
        self._name, self._split, self._keys, self._mask_values = f"tfds:{builder.info.name}", split, keys, mask_values
        self.channels = 0

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._records[index]
        id_ = self._id(record, index)
        where = f"{self._name}, {self._split} {index} ({id_})"
        image = np.asarray(record[self._keys.image])
        image = image[..., None] if image.ndim == 2 else image
        if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4) or image.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"{where}: feature {self._keys.image!r} is {image.dtype} {image.shape}; set data.image_key to an image of "
                "8 or 16 bits, grey or RGB"
            )
        # Alpha is dropped.
        image = image[..., : 1 if image.shape[-1] < 3 else 3]
        if self.channels > image.shape[-1]:
            image = np.repeat(image, self.channels, -1)
        values = np.asarray(record[self._keys.mask])
        values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
        if values.ndim != 2 or values.dtype.kind not in "uib":
            raise UserError(
                f"{where}: feature {self._keys.mask!r} is {values.dtype} {values.shape}; set data.mask_key to a mask of whole "
                "numbers with one channel"
            )
        mask = image_files.to_ids(values.astype(np.uint8) if values.dtype == bool else values, where, self._mask_values)
        image_files.check_size(mask, where, image)
        return {"image": image, "mask": mask, "id": id_, "group": id_}

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image in pixels, read from the header of its file if it is stored as a file."""
        stored = self._encoded[index][self._keys.image]
        if not isinstance(stored, bytes):
            return np.shape(stored)[:2]
        with Image.open(io.BytesIO(stored)) as image:
            return image.size[1], image.size[0]

    def _id(self, record, index: int) -> str:
        if not self._keys.id_:
            return f"{self._split}-{index:06}"
        value = record[self._keys.id_]
        return value.decode() if isinstance(value, bytes) else str(value)


def _is_image(feature) -> bool:
    return isinstance(feature, tfds.features.Image)
