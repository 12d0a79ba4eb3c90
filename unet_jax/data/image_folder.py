"""A folder of images and masks as a data set.

    ROOT/images/ID.*     PNG, TIFF, BMP or JPEG; 8- or 16-bit; grey, RGB or RGBA (alpha is dropped); any sizes
    ROOT/masks/ID.*      PNG, TIFF or BMP: class ids 0..K-1 and 255 = void, a palette image, or RGB with `palette`
    ROOT/instances/ID.*  optional: instance numbers, 0 = background
    ROOT/index.csv       optional: id,split[,group]; without it the split is a hash of the id

A folder whose masks all hold nothing but 0 and 255 is refused, unless `mask_values` says whether 255 is a class.

Grey and RGB images may be mixed, 8- and 16-bit images may not: see `from_files`.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from unet_jax.data import classes, files, from_files, splits
from unet_jax.data.prepare import Dataset
from unet_jax.errors import UserError

READERS = (__file__,)  # beside `files` and `from_files`


class ImageFolder(from_files.FromFiles):
    """Examples of an image, a mask and perhaps an instance map, each a file of its own."""

    @staticmethod
    def read(id_, paths, reading):
        image, mask, *instances = paths
        pixels = files.read_image(image)
        ids = files.to_ids(files.read_labels(mask), mask, reading["mask_values"], reading["palette"])
        files.check_size(ids, mask, pixels)
        example = {"image": pixels, "mask": ids}
        for path in instances:
            example["instances"] = files.read_instances(path)
            files.check_size(example["instances"], path, pixels)
        return example


def create(
    root: str = "",
    *,
    cache_dir: str = "",
    masks_dir: str = "masks",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    palette: files.Palette = (),
    split_file: str = "",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Dataset:
    """The data set in the folder `root`, prepared once per content.

    Args:
      root: the folder described above. `masks_dir` names another folder of masks in it.
      class_names: by class id; () means background, class_1, ... for `num_classes` classes.
      num_classes: K; 0 means the number of `class_names`, `palette` or `mask_values`, else the largest id found + 1.
      mask_values: the values that stand for class 0, 1, ... in the masks, e.g. (0, 255); () means they are ids.
      palette: an RGB triple per class; RGB masks are mapped by it exactly, and pictures are drawn with it.
      split_file: a CSV of the form of `index.csv`, used in its place; images that it does not name are left out. ""
        means `index.csv`, which must name every image.
      split_fractions: of train, val and test where there is no such file or it has no column `split`.

    Raises `UserError` on whatever is wrong with the folder; the message names the file, the value and the remedy.
    """
    known_classes, mask_values, palette = classes.check(class_names, num_classes, mask_values, palette)
    split_fractions = splits.check_fractions(split_fractions)
    if not root:
        raise UserError("image_folder: root is not set; set it to the folder that holds images/ and masks/")
    base = Path(root).expanduser()
    folders = {"images": base / "images", "masks": base / masks_dir}
    if (base / "instances").is_dir():
        folders["instances"] = base / "instances"
    listed = {name: {k: str(path) for k, path in files.list_images(path).items()} for name, path in folders.items()}
    _check_pairs(folders, listed)
    assigned = splits.assign(listed["images"], split_fractions, split_file, index=base / "index.csv")
    reading = {"mask_values": mask_values, "palette": palette}
    return from_files.create(
        ImageFolder,
        from_files.by_split(assigned, lambda id_: tuple(paths[id_] for paths in listed.values())),
        readers=READERS,
        reading=reading,
        check=functools.partial(_check, known_classes=known_classes, reading=reading),
        check_key=known_classes,
        class_names=class_names,
        instances="instances" in folders,
        palette=palette,
        remedy="set data.split_fractions or write index.csv with id,split",
        cache_dir=cache_dir,
    )


def _check_pairs(folders, listed) -> None:
    if not listed["images"]:
        raise UserError(f"{folders['images']}: holds no images; put {', '.join(files.SUFFIXES)} files there")
    for name, paths in listed.items():
        if name == "images":
            continue
        lonely = [id_ for id_ in listed["images"] if id_ not in paths]
        if lonely:
            raise UserError(
                f"{listed['images'][lonely[0]]}: has no file {lonely[0]}.* in {folders[name]} ({len(lonely)} such); "
                "add it or move the image away"
            )
        lonely = [id_ for id_ in paths if id_ not in listed["images"]]
        if lonely:
            raise UserError(
                f"{paths[lonely[0]]}: has no file {lonely[0]}.* in {folders['images']} ({len(lonely)} such); "
                "add the image or move the file away"
            )


def _check(rows, known_classes: int, reading) -> dict:
    """Reads every file and returns what they have in common: channels, dtype and num_classes."""
    facts, values = from_files.survey(ImageFolder, rows, reading)
    masks = [paths[1] for _, _, paths in rows]
    return facts | {"num_classes": classes.number(masks, values, known_classes, reading["mask_values"])}
