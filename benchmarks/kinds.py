"""Trains on a folder of each kind of image and annotation, predicts and measures it, by the commands of the docs.

    python benchmarks/kinds.py --out=runs/kinds
    python benchmarks/kinds.py --out=runs/kinds --only='dicom,coco'

Each folder is written with the library of its format (tifffile, zarr, nibabel, pydicom, pycocotools, roifile, ...). It holds twelve
images of round cells, whose masks are known. A network is trained for 20 steps, which is enough to see that all is read as it
is meant: the table tells how many pixels of the prepared masks differ from those that were drawn. Nothing is downloaded.
"""

import csv
import dataclasses
import fnmatch
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import tables
from benchmarks.programs import Programs
from benchmarks.rows import ROOT
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError
from unet_jax.runtime import cli
from unet_jax.segmentation import VOID_ID

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", "runs/kinds", "The folder of the folders, runs and results.", flag_values=FLAGS)
flags.DEFINE_string("only", "*", "Kinds, as patterns with commas between them.", flag_values=FLAGS)
flags.DEFINE_integer("steps", 20, "Training steps.", flag_values=FLAGS)

# Where the table and the picture of the seven channels go if all kinds were run.
PAGE = ROOT / "docs" / "reference" / "files.md"
PICTURE = ROOT / "docs" / "images" / "seven_channels.png"
SIZE, NUM_IMAGES, NUM_CELLS = 64, 12, 6
TRAIN = (
    "--config.model.widths=(8, 16, 32)",
    "--config.data.patch=(64, 64)",
    "--config.train.batch_size=4",
    "--config.optim.warmup_steps=5",
)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Images of cells.

    Attributes:
      channels: float32 in 0..1, `[N, C, H, W]`.
      instances: the cells, uint16 `[N, H, W]`; 0 is background.
    """

    channels: np.ndarray
    instances: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """1 where a cell is, uint8 `[N, H, W]`."""
        return (self.instances > 0).astype(np.uint8)


def draw_cells(num_channels: int = 1, seed: int = 0) -> Cells:
    """Draws images of discs that do not touch, brighter than the background by another amount in each channel."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    instances = np.zeros((NUM_IMAGES, SIZE, SIZE), np.uint16)
    for ids in instances:
        while ids.max() < NUM_CELLS:
            row, column, radius = rng.uniform(6, SIZE - 6), rng.uniform(6, SIZE - 6), rng.uniform(4, 8)
            if not (ids[np.hypot(rows - row, columns - column) < radius + 2] > 0).any():
                ids[np.hypot(rows - row, columns - column) < radius] = ids.max() + 1
    gain = rng.uniform(0.2, 0.6, num_channels)[:, None, None]
    noise = rng.normal(0.2, 0.04, (NUM_IMAGES, num_channels, SIZE, SIZE))
    return Cells(np.clip(noise + gain * (instances[:, None] > 0), 0, 1).astype(np.float32), instances)


def write_index(folder: Path) -> None:
    """Writes index.csv: the last but one file is for val, the last one for test; a hash of so few names may leave a split empty."""
    names = [name.removeprefix("image_") for name in listing.list_images(folder / "images")]
    splits = ["train"] * (len(names) - 2) + ["val", "test"]
    lines = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (folder / "index.csv").write_text("\n".join(["id,split", *lines]) + "\n")


def name_of(index: int) -> str:
    """Returns the stem of a file."""
    return f"cells_{index:02}"


def folders(root: Path, *names: str) -> list[Path]:
    """Makes folders in `root` and returns them."""
    for name in names:
        (root / name).mkdir(parents=True)
    return [root / name for name in names]


def as_bytes(channels: np.ndarray) -> np.ndarray:
    """Returns 0..1 as uint8."""
    return np.round(255 * channels).astype(np.uint8)


def write_png_masks(folder: Path, cells: Cells) -> None:
    """Writes masks of 0 and 1."""
    from PIL import Image

    for index, mask in enumerate(cells.masks):
        Image.fromarray(mask).save(folder / f"{name_of(index)}.png")


def tiff_stack(root: Path) -> Cells:
    """An ImageJ stack of 16 bits, and one of masks."""
    import tifffile

    cells = draw_cells()
    images, masks = folders(root, "images", "masks")
    stack = np.round(65535 * cells.channels[:, 0]).astype(np.uint16)
    for part in range(3):
        where = slice(4 * part, 4 * part + 4)
        tifffile.imwrite(images / f"scan {part}.tif", stack[where], imagej=True, metadata={"axes": "ZYX"})
        tifffile.imwrite(masks / f"scan {part}.tif", cells.masks[where], imagej=True, metadata={"axes": "ZYX"})
    return cells


def ome_two_channels(root: Path) -> Cells:
    """OME-TIFF of two fluorescence channels; masks named `a.png` for `a.ome.tif`."""
    import tifffile

    cells = draw_cells(2)
    images, masks = folders(root, "images", "masks")
    for index, image in enumerate(as_bytes(cells.channels)):
        tifffile.imwrite(
            images / f"{name_of(index)}.ome.tif", image, metadata={"axes": "CYX"}, photometric="minisblack"
        )
    write_png_masks(masks, cells)
    return cells


def float_seven_channels(root: Path) -> Cells:
    """Stacks of seven channels of float32, with NaN at the border where the detector saw nothing."""
    import tifffile

    cells = draw_cells(7)
    images, masks = folders(root, "images", "masks")
    channels = 1000 * cells.channels
    channels[:, :, :2] = np.nan
    for part in range(3):
        where = slice(4 * part, 4 * part + 4)
        tifffile.imwrite(
            images / f"scan {part}.ome.tif", channels[where], metadata={"axes": "ZCYX"}, photometric="minisblack"
        )
        tifffile.imwrite(
            masks / f"scan {part}.tif", cells.masks[where], metadata={"axes": "ZYX"}, photometric="minisblack"
        )
    return cells


def label_images(root: Path) -> Cells:
    """PNG of the cells' numbers in place of masks."""
    from PIL import Image

    cells = draw_cells()
    images, masks = folders(root, "images", "masks")
    for index, (image, ids) in enumerate(zip(as_bytes(cells.channels[:, 0]), cells.instances, strict=True)):
        Image.fromarray(image).save(images / f"image_{index:03}.png")
        Image.fromarray(ids).save(masks / f"mask_{index:03}.png")
    return cells


def zarr_arrays(root: Path) -> Cells:
    """OME-Zarr images of two channels, version 0.5."""
    import zarr

    cells = draw_cells(2)
    images, masks = folders(root, "images", "masks")
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    ome = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}],
    }
    for index, image in enumerate(as_bytes(cells.channels)):
        group = zarr.create_group(images / f"{name_of(index)}.ome.zarr", attributes={"ome": ome})
        array = group.create_array("0", shape=image.shape, dtype=image.dtype, chunks=(1, 32, 32), dimension_names="cyx")
        array[:] = image
    write_png_masks(masks, cells)
    return cells


def npy_files(root: Path) -> Cells:
    """NPY of float32."""
    cells = draw_cells()
    images, masks = folders(root, "images", "masks")
    for index, image in enumerate(cells.channels[:, 0]):
        np.save(images / f"{name_of(index)}.npy", image)
    write_png_masks(masks, cells)
    return cells


def nifti_volumes(root: Path) -> Cells:
    """NIfTI volumes, and label maps of them."""
    import nibabel

    cells = draw_cells()
    images, masks = folders(root, "images", "masks")
    for part in range(3):
        for folder, values in ((images, np.round(1000 * cells.channels[:, 0]).astype(np.int16)), (masks, cells.masks)):
            # x, y, z.
            volume = nibabel.Nifti1Image(values[4 * part : 4 * part + 4].transpose(2, 1, 0), np.eye(4))
            nibabel.save(volume, folder / f"scan {part}.nii.gz")
    return cells


def dicom_files(root: Path) -> Cells:
    """DICOM of 12 bits, in which the largest value is black."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    cells = draw_cells()
    images, masks = folders(root, "images", "masks")
    for index, image in enumerate(np.round(4095 * (1 - cells.channels[:, 0])).astype(np.uint16)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.Rows, data.Columns, data.SamplesPerPixel = SIZE, SIZE, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME1", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelData = image.tobytes()
        pydicom.dcmwrite(images / f"{name_of(index)}.dcm", data, enforce_file_format=True)
    write_png_masks(masks, cells)
    return cells


def lossless_webp(root: Path) -> Cells:
    """Lossless WebP, and masks as GIF."""
    from PIL import Image

    cells = draw_cells(3)
    images, masks = folders(root, "images", "masks")
    for index, (image, mask) in enumerate(zip(as_bytes(cells.channels), cells.masks, strict=True)):
        Image.fromarray(image.transpose(1, 2, 0)).save(images / f"{name_of(index)}.webp", lossless=True)
        Image.fromarray(mask).save(masks / f"{name_of(index)}.gif")
    return cells


def write_png_images(root: Path, cells: Cells, folder: str = "images") -> Path:
    """Writes the images, and returns their folder."""
    from PIL import Image

    (images,) = folders(root, folder)
    for index, image in enumerate(as_bytes(cells.channels[:, 0])):
        Image.fromarray(image).save(images / f"{name_of(index)}.png")
    return images


def coco(root: Path) -> Cells:
    """COCO JSON with run lengths."""
    from pycocotools import mask as coco_mask

    cells = draw_cells()
    images = write_png_images(root, cells)
    listed, annotations = [], []
    for index, ids in enumerate(cells.instances):
        listed.append({"id": index, "file_name": f"{name_of(index)}.png", "height": SIZE, "width": SIZE})
        for number in range(1, NUM_CELLS + 1):
            runs = coco_mask.encode(np.asfortranarray(ids == number).astype(np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": 7,
                    "segmentation": {"size": [SIZE, SIZE], "counts": runs["counts"].decode()},
                    "area": int(coco_mask.area(runs)),
                    "bbox": coco_mask.toBbox(runs).tolist(),
                    "iscrowd": 0,
                }
            )
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 7, "name": "cell"}]}
    (images / "annotations.json").write_text(json.dumps(content))
    return cells


def outlines(ids: np.ndarray, number: int) -> list[list[float]]:
    """Returns the outline of a cell along the sides of its pixels, as x and y of the corners, in their order.

    A disc has one pixel run in each row, so its outline goes down on the right and up on the left.
    """
    right, left = [], []
    for row in np.flatnonzero((ids == number).any(1)):
        columns = np.flatnonzero(ids[row] == number)
        right += [[float(columns[-1] + 1), float(row)], [float(columns[-1] + 1), float(row + 1)]]
        left += [[float(columns[0]), float(row)], [float(columns[0]), float(row + 1)]]
    return right + left[::-1]


def imagej(root: Path) -> Cells:
    """A zip of ImageJ's outlines for each image."""
    import roifile

    cells = draw_cells()
    images = write_png_images(root, cells)
    for index, ids in enumerate(cells.instances):
        rois = []
        for number in range(1, NUM_CELLS + 1):
            # The ROI Manager numbers ROIs of one name.
            name = f"cell-{number - 1}" if number > 1 else "cell"
            roi = roifile.ImagejRoi.frompoints(np.array(outlines(ids, number)), name=name)
            roi.roitype = roifile.ROI_TYPE.POLYGON
            rois.append(roi)
        roifile.roiwrite(images / f"{name_of(index)}.zip", rois)
    return cells


def labelme(root: Path) -> Cells:
    """A JSON of LabelMe beside each image."""
    cells = draw_cells()
    images = write_png_images(root, cells)
    for index, ids in enumerate(cells.instances):
        shapes = [
            {"label": "cell", "points": outlines(ids, number), "group_id": None, "shape_type": "polygon", "flags": {}}
            for number in range(1, NUM_CELLS + 1)
        ]
        content = {"version": "5.11.4", "flags": {}, "shapes": shapes, "imagePath": f"{name_of(index)}.png"}
        content |= {"imageData": None, "imageHeight": SIZE, "imageWidth": SIZE}
        (images / f"{name_of(index)}.json").write_text(json.dumps(content))
    return cells


def qupath(root: Path) -> Cells:
    """GeoJSON of QuPath beside each image."""
    cells = draw_cells()
    images = write_png_images(root, cells)
    for index, ids in enumerate(cells.instances):
        features = []
        for number in range(1, NUM_CELLS + 1):
            ring = outlines(ids, number)
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                    "properties": {"objectType": "annotation", "classification": {"name": "cell"}},
                }
            )
        content = {"type": "FeatureCollection", "features": features}
        (images / f"{name_of(index)}.geojson").write_text(json.dumps(content))
    return cells


def yolo(root: Path) -> Cells:
    """Text files of YOLO, in the folders images/ and labels/."""
    cells = draw_cells()
    write_png_images(root, cells)
    (labels,) = folders(root, "labels")
    (root / "data.yaml").write_text("path: .\ntrain: images\nnames:\n  0: cell\n")
    for index, ids in enumerate(cells.instances):
        lines = [
            f"0 {' '.join(f'{value / SIZE:.6f}' for point in outlines(ids, number) for value in point)}"
            for number in range(1, NUM_CELLS + 1)
        ]
        (labels / f"{name_of(index)}.txt").write_text("\n".join(lines) + "\n")
    return cells


def cvat(root: Path) -> Cells:
    """XML of CVAT for images."""
    from xml.etree import ElementTree

    cells = draw_cells()
    images = write_png_images(root, cells)
    tree = ElementTree.Element("annotations")
    ElementTree.SubElement(tree, "version").text = "1.1"
    for index, ids in enumerate(cells.instances):
        about = {"id": str(index), "name": f"{name_of(index)}.png", "width": str(SIZE), "height": str(SIZE)}
        image = ElementTree.SubElement(tree, "image", about)
        for number in range(1, NUM_CELLS + 1):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outlines(ids, number))
            attributes = {"label": "cell", "source": "manual", "occluded": "0", "points": points, "z_order": "0"}
            ElementTree.SubElement(image, "polygon", attributes)
    ElementTree.ElementTree(tree).write(images / "annotations.xml")
    return cells


def voc(root: Path) -> Cells:
    """The folders of PASCAL VOC, with indexed masks."""
    from PIL import Image

    cells = draw_cells()
    write_png_images(root, cells, "JPEGImages")
    (masks,) = folders(root, "SegmentationClass")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:128,0,0::\n")
    for index, mask in enumerate(cells.masks):
        picture = Image.fromarray(mask, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
        picture.save(masks / f"{name_of(index)}.png")
    return cells


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of files.

    Attributes:
      write: writes a folder and returns its cells.
      options: flags of the training, which say what the files do not.
      is_imported: the folder holds annotations, of which `unet-jax import` makes masks.
      images: what is predicted, in the folder.
    """

    write: Callable[[Path], Cells]
    options: Sequence[str] = ()
    is_imported: bool = False
    images: str = "images"


KINDS = {
    "tiff_stack": Kind(tiff_stack),
    "ome_two_channels": Kind(ome_two_channels),
    "float_seven_channels": Kind(float_seven_channels, ("--config.data.nan=void",)),
    "label_images": Kind(
        label_images,
        (
            "--config.data.masks=instances",
            "--config.data.image_name=image_{stem}",
            "--config.data.mask_name=mask_{stem}",
        ),
    ),
    "zarr_arrays": Kind(zarr_arrays),
    "npy": Kind(npy_files),
    "nifti": Kind(nifti_volumes),
    "dicom": Kind(dicom_files),
    "webp_gif": Kind(lossless_webp),
    "coco": Kind(coco, is_imported=True),
    "imagej": Kind(imagej, is_imported=True),
    "labelme": Kind(labelme, is_imported=True),
    "qupath": Kind(qupath, is_imported=True),
    "yolo": Kind(yolo, is_imported=True),
    "cvat": Kind(cvat, is_imported=True),
    "voc": Kind(voc, is_imported=True, images="JPEGImages"),
}


def check_read(folder: Path, options: Sequence[str], cells: Cells) -> list[str]:
    """Returns how the prepared examples compare with what was drawn.

    Args:
      folder: the folder that is trained on.
      options: flags `--config.data.NAME=VALUE` of the kind.
      cells: what was drawn.

    Returns:
      The shape and the type of an image, the pixels of all masks that differ, and the least correlation of an image with
      what was drawn.
    """
    from unet_jax import data

    values = (option.removeprefix("--config.data.").partition("=") for option in options)
    with_options = {name: value for name, _, value in values}
    dataset = data.load("image_folder", root=str(folder), **with_options)
    sources = [dataset.source(split) for split in dataset.splits]
    examples = sorted((source[index] for source in sources for index in range(len(source))), key=lambda one: one["id"])
    wrong, correlations = 0, []
    for example, mask, channels in zip(examples, cells.masks, cells.channels, strict=True):
        valid = example["mask"] != VOID_ID
        wrong += int((example["mask"] != mask)[valid].sum())
        drawn, read = channels.transpose(1, 2, 0)[valid], example["image"][valid].astype(np.float64)
        correlations.append(np.corrcoef(drawn.ravel(), read.ravel())[0, 1])
    shape, dtype = examples[0]["image"].shape, examples[0]["image"].dtype
    return [" x ".join(map(str, shape)), str(dtype), str(wrong), f"{min(correlations):.4f}"]


def run_kind(name: str, kind: Kind, out: Path, programs: Programs) -> list[str]:
    """Writes, trains, predicts and measures one kind; returns its row.

    Raises:
      UserError: a command failed; it has said why.
    """
    place = out / name
    shutil.rmtree(place, ignore_errors=True)
    folder = place / "source"
    cells = kind.write(folder)

    def unet_jax(command: str, *arguments: str | Path) -> None:
        if programs.run("-m", "unet_jax", command, *arguments):
            raise UserError(f"{name}: unet-jax {command} failed; its message stands above")

    images = folder / kind.images
    if kind.is_imported:
        folder = place / "imported"
        unet_jax("import", place / "source", f"--out={folder}")
        images = folder / "images"
    write_index(folder)
    run = place / "run"
    steps = (f"--config.train.num_steps={FLAGS.steps}", f"--config.train.eval_every={FLAGS.steps}")
    unet_jax("train", f"--config=image_folder:{folder}", f"--workdir={run}", *TRAIN, *steps, *kind.options)
    unet_jax("predict", images, f"--model={run}", f"--out={place / 'masks'}")
    unet_jax("measure", f"--workdir={run}", f"--images={images}", f"--out={place / 'measured'}", "--min_area=20")
    with (place / "measured" / "objects.csv").open(newline="") as file:
        objects = len(list(csv.DictReader(file)))
    scores = json.loads((run / "eval" / "test.json").read_text())["summary"]
    return [name, *check_read(folder, kind.options, cells), f"{scores['iou_pooled/mean']:.2f}", str(objects)]


TITLES = (
    "kind",
    "an image",
    "type",
    "mask pixels that differ",
    "least correlation",
    "IoU on test",
    "objects found",
)


def main() -> None:
    out = Path(FLAGS.out).absolute()
    patterns = FLAGS.only.split(",")
    chosen = {name: kind for name, kind in KINDS.items() if any(fnmatch.fnmatch(name, each) for each in patterns)}
    with Programs() as programs:
        lines = [run_kind(name, kind, out, programs) for name, kind in chosen.items()]
    from PIL import Image

    table = tables.table(TITLES, lines)
    print(table)
    if chosen == KINDS:
        tables.rewrite(PAGE, "kinds", table)
        with Image.open(out / "float_seven_channels" / "run" / "eval" / "test" / "worst.png") as picture:
            picture.reduce(2).save(PICTURE, optimize=True)


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
