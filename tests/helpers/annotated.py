"""Annotated images as tests compare them."""

import numpy as np

from unet_jax.data.annotations import registry
from unet_jax.data.annotations.objects import Annotated, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import open_source


def read(path, **options) -> list[Annotated]:
    """Returns the images of a source whose format is recognised."""
    return list(registry.read(open_source(path), "auto", Options(**options)).images)


def mask_of(one: Object, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of an object, bool of the size of its image."""
    mask = np.zeros(size, bool)
    crop = one.crop
    mask[crop.top : crop.top + crop.mask.shape[0], crop.left : crop.left + crop.mask.shape[1]] = crop.mask
    return mask


def painted(images: list[Annotated]) -> dict[str, np.ndarray]:
    """Returns the pixels of each label of the first image."""
    masks: dict[str, np.ndarray] = {}
    for one in images[0].objects or ():
        masks[one.label] = masks.get(one.label, False) | mask_of(one, images[0].size)
    return masks


def named(images: list[Annotated]) -> dict[str, list[str] | None]:
    """Returns the labels of the objects by the names of the images; None where the source says nothing about one."""
    return {
        image.image.name: None if image.objects is None else [one.label for one in image.objects] for image in images
    }
