"""Pairs annotation files that name no image with the images of their names."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from unet_jax.data.annotations.options import Options
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError


def pair(files: Sequence[Path], options: Options, any_image: str = "") -> dict[Path, Path | None]:
    """Returns the annotation file of each image: `a.roi` or `a.tif.roi` is that of `a.tif`; None for an image that has none.

    Args:
      files: the annotation files. Their images lie in `options.images`, or beside them.
      options: how annotations are read.
      any_image: name of a file, without suffix, that belongs to the one image of its folder whatever that is called.

    Raises:
      UserError: a file belongs to no image, or to one that has another file.
    """
    owners: dict[Path, Path | None] = {}
    for folder in dict.fromkeys(Path(options.images) if options.images else file.parent for file in files):
        owners |= dict.fromkeys(_images(folder).values())
    for file in files:
        folder = Path(options.images) if options.images else file.parent
        image = _image_of(file, _images(folder), any_image)
        if image is None:
            raise UserError(
                f"{file}: no image in {folder} has the name {file.stem!r}; name the file as its image, or see --images"
            )
        if owners[image]:
            raise UserError(f"{file}: belongs to {image}, and so does {owners[image]}; remove one of them")
        owners[image] = file
    return owners


def by_key(files: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    """Returns each file by what it has in common with its partner.

    Raises:
      UserError: two files have the same key, so that the partner of one would be taken for that of the other.
    """
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(key(file), file)
        if other != file:
            raise UserError(
                f"{file}: counts under the same name {key(file)!r} as {other}; rename or remove one of them"
            )
    return found


def _images(folder: Path) -> dict[str, Path]:
    return {id_: Path(path) for id_, path in listing.list_images(str(folder)).items()}


def _image_of(file: Path, images: dict[str, Path], any_image: str) -> Path | None:
    for id_ in (listing.id_of(file.name), listing.id_of(file.stem)):
        if id_ in images:
            return images[id_]
    return next(iter(images.values())) if any_image == file.stem and len(images) == 1 else None
