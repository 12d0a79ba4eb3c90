"""The files of the objects of images."""

import csv
import json

import numpy as np
import pytest
import skimage.measure
import tifffile
from etils.epath import Path
from helpers.blobs import blobs, cut
from helpers.grey_images import contents
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference.inputs import find_inputs
from unet_jax.measurement import object_folder
from unet_jax.measurement.object_folder import Classes, ObjectFolder
from unet_jax.measurement.objects import Options
from unet_jax.measurement.pixel_size import PixelSize

CLASSES = Classes(("anode", "cell wall"), (2, 0), ((1, 2, 3), (4, 5, 6)))
MASKS = np.stack([blobs(1), blobs(9), blobs(2)], -1)
EDGES = Options(connectivity=1)
IDS = np.zeros(MASKS.shape[:2], np.uint8)


@pytest.fixture
def images(tmp_path):
    """Images a and sub/b."""
    for number, name in enumerate(("a", "sub/b")):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, IDS.shape, dtype=np.uint8)).save(path)
    return tmp_path / "images"


def open_folder(out, images, options=None, **arguments):
    return ObjectFolder(Path(out), find_inputs([images], recursive=True).images, CLASSES, options or EDGES, **arguments)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_of_an_image(tmp_path, images):
    folder = open_folder(tmp_path / "out", images, pixel=PixelSize(0.5, "mm"))
    folder.write("sub/b", MASKS, IDS)
    folder.finish()
    pixels = np.asarray(Image.open(images / "sub" / "b.png"))
    rows = table(tmp_path / "out" / "objects.csv")
    offset = 0
    for name, place, channel, colour in (("anode", "anode", 2, [1, 2, 3]), ("cell wall", "cell_wall", 0, [4, 5, 6])):
        expected = skimage.measure.label(MASKS[..., channel], connectivity=1)
        labels = tifffile.imread(tmp_path / "out" / "labels" / place / "sub" / "b.tif")
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, np.where(expected > 0, expected + offset, 0))
        of_class = [row for row in rows if row["class"] == name]
        regions = skimage.measure.regionprops(expected, pixels)
        assert [int(row["label"]) for row in of_class] == [region.label + offset for region in regions]
        assert [int(row["area"]) for row in of_class] == [region.area for region in regions]
        assert [float(row["area_mm2"]) for row in of_class] == [region.area / 4 for region in regions]
        means = [float(row["intensity_mean"]) for row in of_class]
        np.testing.assert_allclose(means, [region.intensity_mean for region in regions])
        features = json.loads((tmp_path / "out" / "outlines" / "sub" / "b.geojson").read_text())["features"]
        features = [one for one in features if one["properties"]["classification"] == {"name": name, "color": colour}]
        assert [one["properties"]["name"] for one in features] == [row["label"] for row in of_class]
        assert [one["properties"]["measurements"]["area"] for one in features] == [region.area for region in regions]
        offset += len(regions)
    assert {row["image"] for row in rows} == {"sub/b"}
    (image,) = table(tmp_path / "out" / "images.csv")
    assert (image["image"], image["height"], image["width"]) == ("sub/b", "60", "50")
    assert int(image["count_anode"]) + int(image["count_cell wall"]) == len(rows)
    assert int(image["area_anode"]) == MASKS[..., 2].sum()
    assert float(image["coverage_anode"]) == MASKS[..., 2].mean()
    assert float(image["area_cell wall_mm2"]) == MASKS[..., 0].sum() / 4


@pytest.mark.parametrize("rows", [1, 17])
def test_bands_give_the_files_of_the_whole(tmp_path, images, rows):
    open_folder(tmp_path / "whole", images).write("a", MASKS, IDS)
    with open_folder(tmp_path / "bands", images).open("a", IDS.shape) as result:
        for start, band in cut(MASKS, rows):
            result.write(start, band, IDS[start : start + rows])
    assert contents(tmp_path / "bands") == contents(tmp_path / "whole")
    assert len(contents(tmp_path / "whole")) == 4


def test_the_tables_are_those_of_all_images_that_are_finished(tmp_path, images):
    folder = open_folder(tmp_path / "out", images)
    folder.write("sub/b", MASKS, IDS)
    folder.write("a", np.zeros_like(MASKS), IDS)
    folder.finish()
    assert {row["image"] for row in table(tmp_path / "out" / "objects.csv")} == {"sub/b"}
    first, _ = table(tmp_path / "out" / "images.csv")
    assert (first["image"], first["count_anode"]) == ("a", "0")
    (tmp_path / "out" / "labels" / "anode" / "sub" / "b.tif").unlink()
    folder.finish()
    assert table(tmp_path / "out" / "objects.csv") == []
    assert [row["image"] for row in table(tmp_path / "out" / "images.csv")] == ["a"]


def test_more_objects_than_16_bits_hold(tmp_path, images, monkeypatch):
    monkeypatch.setattr(object_folder, "MOST_IN_16_BITS", 20)
    open_folder(tmp_path / "out", images).write("a", MASKS[:, ::-1], IDS)
    assert tifffile.imread(tmp_path / "out" / "labels" / "anode" / "a.tif").dtype == np.uint32


def test_the_size_of_a_pixel_is_that_of_each_file(tmp_path):
    (tmp_path / "images").mkdir()
    for name, resolution in (("a", 4), ("b", 2)):
        tifffile.imwrite(
            tmp_path / "images" / f"{name}.tif", IDS, imagej=True, resolution=(resolution,) * 2, metadata={"unit": "mm"}
        )
    tifffile.imwrite(tmp_path / "images" / "c.tif", IDS)
    folder = open_folder(tmp_path / "out", tmp_path / "images")
    for name in "abc":
        folder.write(name, MASKS, IDS)
    folder.finish()
    area = MASKS[..., 2].sum()
    rows = table(tmp_path / "out" / "images.csv")
    assert [row["area_anode_mm2"] for row in rows] == [str(float(area / 16)), str(float(area / 4)), ""]


def test_an_image_that_ends_early_leaves_no_file(tmp_path, images, monkeypatch):
    folder = open_folder(tmp_path / "out", images)
    monkeypatch.setattr(object_folder, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.write("a", MASKS, IDS)
    assert contents(tmp_path) == {f"images/{name}": content for name, content in contents(images).items()}


def test_what_is_refused(tmp_path, images):
    folder = open_folder(tmp_path / "out", images, Options(split="distance"), budget=1000)
    with pytest.raises(UserError, match="--split: an image of 50 x 60"):
        folder.check_size("a", (60, 50))
    (tmp_path / "out" / "labels" / "plate").mkdir(parents=True)
    with pytest.raises(UserError, match="holds objects of the classes plate, and those now are anode, cell_wall"):
        folder.check(False)
    with pytest.raises(UserError, match="would share a folder"):
        ObjectFolder(Path(tmp_path), [], Classes(("a b", "a_b"), (0, 1), ((), ())), Options())
    with pytest.raises(UserError, match="is in a bucket"):
        ObjectFolder(Path("gs://bucket/out"), [], CLASSES, Options())
