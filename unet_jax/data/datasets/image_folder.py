"""Reads a folder of images and masks as a data set.

    ROOT/images/ID.*     PNG, TIFF, BMP or JPEG; 8- or 16-bit; grey, RGB or RGBA (alpha is dropped); any sizes
    ROOT/masks/ID.*      PNG, TIFF or BMP: class ids 0..K-1 and 255 for void, an indexed image, or RGB with `palette`
    ROOT/instances/ID.*  optional: instance numbers, 0 for background
    ROOT/index.csv       optional: id,split[,group]; without it a hash of the id chooses the split

Where no mask holds 255 beside ids above 0, `mask_values` must say whether 255 is a class or void. Masks that number objects are
refused unless `masks` says so or the number of classes is given (see `instance_labels`). Images of kinds that are not read are errors; other files
are passed over, with a line on stderr for each folder. See `listing` and `names` for names.

Grey and RGB images may be mixed; 8-bit, 16-bit and float images may not. See `file_examples`.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import file_examples, image_files, listing, splits
from unet_jax.data.datasets.classes import check_class_settings
from unet_jax.data.datasets.folder import names, pages
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.storage.paths import expand, in_bucket

# Source files whose code decides what is stored; `image_files` and `from_files` are added to them.
READERS = (__file__, pages.__file__)
# Suffixes of tables that may be meant as `index.csv`.
TABLES = (".csv", ".txt", ".tsv", ".xls", ".xlsx", ".ods")
# The option that says how the files of a folder are named.
NAME_OPTIONS = {"images": "image_name", "masks": "mask_name", "instances": "instance_name"}
# What the masks hold.
CLASSES, INSTANCES = "classes", "instances"
AS_STORED = Reading()
ANY_NAMES = names.Patterns()
# Last part of the error about an empty split.
REMEDY = "set data.split_fractions or write index.csv with id,split"


def read_example(
    row: file_examples.Row,
    reading: Mapping[str, Any],
    on_error: Callable[[UserError], None] = raise_error,
) -> dict[str, Any]:
    """Returns an example from the files of its image, its mask and possibly its instances; see `file_examples.ReadExample`.

    An empty path is skipped.
    """
    example: dict[str, Any] = {}
    how = pages.image_reading(reading["how"])

    def read_image(path, page):
        return pages.read_image(path, page, how)

    def read_mask(path, page):
        values, colours = pages.read_labels(path, page, pages.of_masks(how))
        if reading["masks"] == INSTANCES:
            example["instances"] = image_files.instances_of(path, values)
            return (example["instances"] > 0).astype(np.uint8)
        mask = image_files.mask_of(path, values, colours, reading["mask_values"], reading["palette"])
        example["colours"] = mask.colours
        return mask.ids

    def read_instances(path, page):
        return image_files.instances_of(path, pages.read_labels(path, page, pages.of_masks(how))[0])

    readers = {"image": read_image, "mask": read_mask, "instances": read_instances}
    for number, ((name, read_file), path) in enumerate(zip(readers.items(), row.paths, strict=False)):
        if not path:
            continue
        with collect_errors(on_error):
            example[name] = read_file(path, row.pages[number] if row.pages else None)
            image_files.check_size(example[name], path, example.get("image", example[name]))
            image_files.check_space(path, row.paths[0] or path)
    with collect_errors(on_error):
        file_examples.settle_unknown(example, row.paths[0], how.nan)
    return example


def load_image_folder(
    root: str = "",
    *,
    cache_dir: str = "",
    masks_dir: str = "masks",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    palette: image_files.Palette = (),
    masks: str = CLASSES,
    image_name: str = names.STEM,
    mask_name: str = names.STEM,
    instance_name: str = names.STEM,
    axes: str = "",
    channels: Sequence[int] = (),
    missing_chunks: str = "error",
    one_mask: bool = False,
    split_file: str = "",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    nan: str = "error",
) -> Dataset:
    """Returns the data set in the folder `root`, prepared once per content.

    Args:
      root: the folder described above.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      masks_dir: name of the folder of masks in `root`.
      class_names: names by class id; () means background, class_1, ...
      num_classes: number of classes K; 0 means the number of `class_names`, `palette` or `mask_values`, else the largest id
        in the masks + 1.
      mask_values: values of class 0, 1, ... in the masks, e.g. (0, 255); () means that the values are ids.
      palette: an RGB triple per class. RGB and indexed masks are mapped with it, and pictures are drawn with it.
      masks: "classes", or "instances" where the masks number the objects of one class: ids above 0 are class 1 and the instance
        map at once. There are two classes then.
      image_name: names of the images without suffix; `{stem}` stands for the id, e.g. "image_{stem}".
      mask_name: names of the masks, with `{stem}` for the id, e.g. "{stem}_mask".
      instance_name: names of the instances, with `{stem}` for the id.
      axes: what each dimension of a file is, e.g. "ZCYX"; "" takes what the file says. See `reading.Reading`. Masks have the same
        without channels.
      channels: the channels of the images that are kept, in this order; () keeps all.
      missing_chunks: "error", or "fill" to read the fill value of a Zarr array where a chunk is missing.
      one_mask: True takes a mask of one page for all pages of an image.
      split_file: a CSV with the columns of `index.csv`, used instead of it; images that it does not name are left out. ""
        means `index.csv`, which must name every image.
      split_fractions: fractions of train, val and test, used if there is no such file or it has no column `split`.
      nan: "error" refuses an image with pixels that are NaN or infinite; "void" makes them void. See `nan_pixels`.

    Raises:
      UserError: something is wrong with the folder; the message names the file, the value and the remedy.
    """
    # Imported on use: the check of a folder prepares nothing, and need not wait for TFDS.
    from unet_jax.data.datasets.from_files import FromFiles, dataset_from_files

    class ImageFolder(FromFiles):
        read = staticmethod(read_example)

    known_classes, mask_values, palette = check_settings(masks, class_names, num_classes, mask_values, palette)
    split_fractions = splits.check_fractions(split_fractions)
    patterns = names.Patterns(image_name, mask_name, instance_name)
    how = pages.check_reading(axes, channels, missing_chunks, nan)
    rows = find_rows(root, masks_dir, split_fractions, split_file, patterns, masks, how, one_mask)
    reading = reading_of(masks, mask_values, palette, how)
    return dataset_from_files(
        ImageFolder,
        rows,
        readers=READERS,
        reading=reading,
        known_classes=known_classes,
        class_names=class_names,
        instances=masks == INSTANCES or any(len(row.paths) > 2 for listed in rows.values() for row in listed),
        palette=palette,
        remedy=REMEDY,
        cache_dir=cache_dir,
    )


def reading_of(masks: str, mask_values: Sequence[int], palette: image_files.Palette, how: Reading) -> dict[str, Any]:
    """Returns what `read_example` takes as `reading`; its values can be written as JSON."""
    return {"masks": masks, "mask_values": mask_values, "palette": palette, "how": dataclasses.asdict(how)}


def check_settings(
    masks: str,
    class_names: Sequence[str],
    num_classes: int,
    mask_values: Sequence[int],
    palette: image_files.Palette,
) -> tuple[int, tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """Returns the number of classes K, mask_values and palette; see `classes.check_class_settings`.

    Raises:
      UserError: a value is wrong, or does not go with masks that number objects.
    """
    if masks == INSTANCES:
        if len(tuple(mask_values)) or len(tuple(palette)):
            raise UserError(
                f"masks={INSTANCES!r} takes the values of the masks as numbers of objects; leave mask_values and palette out"
            )
        num_classes = num_classes or 2
        if num_classes != 2:
            raise UserError(
                f"masks={INSTANCES!r} has two classes, background and objects, but num_classes={num_classes}; give 2"
            )
    return check_class_settings(class_names, num_classes, mask_values, palette)


def find_rows(
    root: str,
    masks_dir: str,
    split_fractions: Sequence[float],
    split_file: str = "",
    file_names: names.Patterns = ANY_NAMES,
    masks: str = CLASSES,
    how: Reading = AS_STORED,
    one_mask: bool = False,
    on_error: Callable[[UserError], None] = raise_error,
    on_note: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> dict[str, list[file_examples.Row]]:
    """Returns the rows of each split: images, masks and instances, paired by file name.

    The split file is opened, and of the other files those that may hold several pages.

    Args:
      root: as in `load_image_folder`.
      masks_dir: as in `load_image_folder`.
      split_fractions: as in `load_image_folder`.
      split_file: as in `load_image_folder`.
      file_names: how the files of each folder are named.
      masks: as in `load_image_folder`.
      how: how the files are read.
      one_mask: as in `load_image_folder`.
      on_error: gets every error in the folder. If it returns, a missing path is empty; a file without an image is skipped,
        and so is the second of two files with the same name. Images without a split are in the split "".
      on_note: gets a line for each folder in which something is passed over.

    Raises:
      UserError: `root` is empty, or the instances are given twice.
    """
    if not root:
        raise UserError(
            "image_folder: root is not set; give the folder that holds images/ and masks/ (on the command line: --config=NAME:FOLDER)"
        )
    if not listing.is_utf8(root):
        raise UserError(f"{root}: {listing.NOT_UTF8}")
    base = expand(root, "data.root")
    patterns = dataclasses.asdict(file_names)
    folders = {"images": base / "images", "masks": base / masks_dir}
    # A link without a target must not count as "no instances".
    if os.path.lexists(base / "instances") or (base / "instances").is_dir():
        folders["instances"] = base / "instances"
        if masks == INSTANCES:
            raise UserError(
                f"{folders['instances']}: gives the numbers of the objects, and so does masks={INSTANCES!r}; leave that setting out, "
                "or move the folder away"
            )
    listed: dict[str, dict[str, str]] = {}
    others: dict[str, list[Path]] = {name: [] for name in folders}
    for name, folder in folders.items():
        with collect_errors(on_error):
            files = listing.list_images(folder, on_error, others[name].append)
            listed[name] = _fitting(files, patterns[name], NAME_OPTIONS[name], on_error)
    unread = {name: _unread(name, listed, paths, patterns[name]) for name, paths in others.items()}
    for name, paths in unread.items():
        lost = set(paths)
        for path in paths:
            problem = f"lies there, but this kind of file is not read ({len(paths)} such files in this folder)"
            on_error(UserError(f"{path}: {problem}; save it as PNG or TIFF, or move it away"))
        if passed_over := [path for path in others[name] if path not in lost]:
            on_note(listing.describe_others(folders[name], passed_over))
    _check_pairs(folders, listed, unread, patterns, on_error)
    images = listed.get("images", {})
    found = pages.find_pages(images, [listed.get(name, {}) for name in [*folders][1:]], how, one_mask, on_error)
    ids = [page for id_ in images for page in found.of_file.get(id_, {id_: ()})]
    file_of = {page: id_ for id_, of_file in found.of_file.items() for page in of_file}
    assigned = {id_: ("", id_) for id_ in ids}
    if not split_file:
        _check_index_name(base, on_error)
    with collect_errors(on_error):
        assigned = splits.assign(
            ids,
            split_fractions,
            split_file,
            index=base / "index.csv",
            files=file_of,
            together=found.together,
            on_error=on_error,
        )

    numbers = {page: number for of_file in found.of_file.values() for page, number in of_file.items()}

    def paths_of(id_):
        paths = tuple(listed.get(name, {}).get(file_of.get(id_, id_), "") for name in folders)
        left_out = [number == pages.LEFT_OUT for number in numbers.get(id_, (0,) * len(paths))]
        return tuple("" if out else path for path, out in zip(paths, left_out, strict=True))

    return file_examples.by_split(assigned, paths_of, lambda id_: numbers.get(id_, ()))


def _check_index_name(base: Path, on_error) -> None:
    """Reports a table that may be meant as `index.csv`. Without this, a hash would choose the splits."""
    if in_bucket(base) or os.path.lexists(base / "index.csv") or not base.is_dir():
        return
    for name in sorted(os.listdir(base)):
        stem, suffix = os.path.splitext(name.lower())
        if stem in ("index", "index.csv") and suffix in TABLES:
            on_error(
                UserError(
                    f"{base / name}: is not read, because its name is not index.csv; save it as index.csv, or move it away"
                )
            )


def _id(path: Path, pattern: str) -> str:
    """Returns the id of a file, or "" if its name does not fit the pattern of its folder."""
    return names.id_in(listing.id_of(path.name), pattern)


def _fitting(files: Mapping[str, Path], pattern: str, option: str, on_error) -> dict[str, str]:
    """Returns the files of a folder by id, without those whose names do not fit its pattern; each of them is an error."""
    fitting = {id_: str(path) for path in files.values() if (id_ := _id(path, pattern))}
    unfit = [path for path in files.values() if not _id(path, pattern)]
    for path in unfit:
        on_error(
            UserError(
                f"{path}: the name does not fit data.{option}={pattern!r} ({len(unfit)} such files); rename it or move it away, or "
                f"correct data.{option}"
            )
        )
    return fitting


def _unread(name: str, listed: dict[str, dict[str, str]], others: Sequence[Path], pattern: str) -> list[Path]:
    """Returns the files among `others` that the data set would lose: no file of the same id in their folder is read.

    A file of an unknown kind counts if another folder has a file of its id; the rest are notes, tables and the like.
    """
    ids = set().union(*listed.values())
    lost = [path for path in others if _id(path, pattern) not in listed.get(name, {})]
    return [path for path in lost if path.suffix.lower() in listing.UNREAD_SUFFIXES or _id(path, pattern) in ids]


def _check_pairs(folders, listed, unread, patterns, on_error) -> None:
    images = listed.get("images")
    if images is None:
        return
    named = {name: {_id(path, patterns[name]) for path in paths} for name, paths in unread.items()}
    if not images and not named["images"]:
        on_error(UserError(f"{folders['images']}: holds no images; put {', '.join(listing.SUFFIXES)} files there"))
    for name, paths in listed.items():
        without = [id_ for id_ in images if id_ not in paths and id_ not in named[name]]
        alone = [id_ for id_ in paths if id_ not in images and id_ not in named["images"]]
        remedy = _name_remedy(name, without, alone, patterns)
        remedies = (remedy or "add the file or move the image away", remedy or "add the image or move the file away")
        for number, id_ in enumerate(without):
            near = _near(id_, alone or [*paths], patterns[name]) if number < names.NEAREST else ""
            place = f"{names.name_of(id_, patterns[name])}.* in {folders[name]}{near}"
            on_error(UserError(f"{images[id_]}: has no file {place} ({len(without)} such images); {remedies[0]}"))
        for number, id_ in enumerate(alone):
            near = _near(id_, without or [*images], patterns["images"]) if number < names.NEAREST else ""
            place = f"{names.name_of(id_, patterns['images'])}.* in {folders['images']}{near}"
            on_error(UserError(f"{paths[id_]}: has no image {place} ({len(alone)} such files); {remedies[1]}"))


def _near(id_: str, ids: Sequence[str], pattern: str) -> str:
    """Returns the names of files that are most like that of an id, as part of a message."""
    return names.describe_nearest(names.name_of(id_, pattern), [names.name_of(other, pattern) for other in ids])


def _name_remedy(name: str, without: list[str], alone: list[str], patterns: Mapping[str, str]) -> str:
    """Returns the options under which the images and files that have no partner are pairs; "" if there are none."""
    if name == "images" or {patterns["images"], patterns[name]} != {names.STEM}:
        return ""
    found = names.suggest(without, alone)
    if not found:
        return ""
    options = zip(("image_name", NAME_OPTIONS[name]), found, strict=True)
    return "set " + " and ".join(f"data.{option}={pattern!r}" for option, pattern in options if pattern != names.STEM)
