"""Prediction of a folder, with a network whose answer is known."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from etils.epath import Path
from flax import linen as nn
from helpers.known_network import NAMES, SIZES, GreyLevels, examples, predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.evaluation import report
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.forward import forward_masks
from unet_jax.inference.inputs import find_inputs
from unet_jax.inference.outputs import MaskFolder, file_name
from unet_jax.inference.predictor import Predictor
from unet_jax.plotting import index_page
from unet_jax.runtime import out_of_memory


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def mode(path):
    with Image.open(path) as picture:
        return picture.mode


def write_images(folder):
    """Writes images as files of several kinds; returns the ids by name."""
    made = {example["id"]: example for example in examples(5)}
    grey = {name: example["image"][..., 0] for name, example in made.items()}
    folder.mkdir()
    Image.fromarray(grey["x0"]).save(folder / "x0.png")
    Image.fromarray(grey["x1"].astype(np.uint16) * 257).save(folder / "x1.tif")
    Image.fromarray(np.stack([grey["x2"]] * 3, -1)).save(folder / "x2.BMP")
    Image.fromarray(np.stack([grey["x3"]] * 3 + [255 - grey["x3"]], -1)).save(folder / "x3.png")
    Image.fromarray(np.full(SIZES[4], 200, np.uint8)).save(folder / "x4.jpg", quality=95)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image")
    return {name: example["seen"] for name, example in made.items()} | {"x4": np.full(SIZES[4], 2)}


def test_a_folder_becomes_ids_masks_and_overlays(tmp_path):
    truth, out = write_images(tmp_path / "images"), tmp_path / "out"
    info = predict_folder(predictor(), tmp_path / "images", out, batch_size=4)
    assert info["num_images"] == 5
    assert info["folders"] == [str(out / f) for f in ("ids", "masks/anode", "masks/cathode", "overlays")]
    for name, ids in truth.items():
        assert mode(out / "ids" / f"{name}.png") == "L"
        np.testing.assert_array_equal(read(out / "ids" / f"{name}.png"), ids)
        for k, kept in ((1, "anode"), (2, "cathode")):
            np.testing.assert_array_equal(
                np.asarray(Image.open(out / "masks" / kept / f"{name}.png")), (ids == k) * 255
            )
        assert mode(out / "overlays" / f"{name}.png") == "RGB"
    assert len(list(out.rglob("*.png"))) == 4 * 5
    page = (out / "index.html").read_text()
    assert re.findall(r'src="([^"]*)"', page) == [f"overlays/{name}.png" for name in sorted(truth)]
    # A second call finds everything done.
    info = predict_folder(predictor(), tmp_path / "images", out)
    assert (info["num_images"], info["num_finished"], info["num_there"], info["num_all"]) == (0, 5, 5, 5)
    (out / "ids" / "x0.png").write_text("old")
    (out / "overlays" / "earlier.png").write_bytes((out / "overlays" / "x0.png").read_bytes())
    predict_folder(predictor(), tmp_path / "images", out, overwrite=True)
    # The page shows every overlay of the folder, those of other images too.
    assert 'src="overlays/earlier.png"' in (out / "index.html").read_text()
    np.testing.assert_array_equal(read(out / "ids" / "x0.png"), truth["x0"])


def test_sigmoid_masks_of_a_folder_may_overlap(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.array([[0, 145, 155, 100, 200]], np.uint8)).save(tmp_path / "images/a.png")

    class Wide(GreyLevels):
        @nn.compact
        def __call__(self, images, train=False):
            # A class is set within 60 grey levels of its level, so between two classes both are set.
            return (20 + super().__call__(images)[0],)

    network = Predictor(Wide(activation="sigmoid"), {}, NAMES, normalize="range", pad_multiple=16)
    predict_folder(network, tmp_path / "images", tmp_path / "out")
    out = tmp_path / "out"
    assert read(out / "ids/a.png").tolist() == [[0, 1, 2, 1, 2]]
    assert read(out / "masks/anode/a.png").tolist() == [[0, 255, 255, 255, 0]]
    assert read(out / "masks/cathode/a.png").tolist() == [[0, 255, 255, 0, 255]]


def test_a_bad_folder_is_refused_before_anything_is_written(tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    with pytest.raises(UserError, match=r"/images\b"):
        predict_folder(predictor(), images, out)
    images.mkdir()
    with pytest.raises(UserError, match=r"/images\b.*\.png"):
        predict_folder(predictor(), images, out)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(images / "a.png")
    (images / "b.png").write_bytes(b"broken")
    (images / "c.tif").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.png.*1 more"):
        predict_folder(predictor(), images, out)
    (images / "b.png").unlink()
    (images / "c.tif").rename(images / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif.*a\.png"):
        predict_folder(predictor(), images, out)
    assert not out.exists()


def test_files_and_folders_are_listed_once(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "other/y.png")
    given = [tmp_path / "other/y.png", tmp_path / "images", tmp_path / "images/../images/x1.tif"]
    assert [image.path.name for image in find_inputs(given).images] == [
        "y.png",
        "x0.png",
        "x1.tif",
        "x2.BMP",
        "x3.png",
        "x4.jpg",
    ]


def test_two_images_of_one_name_are_an_error_before_anything_is_written(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "other/x2.tif")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"other/x2\.tif .*images/x2\.BMP"):
        predict_folder(predictor(), [tmp_path / "images", tmp_path / "other"], out)
    with pytest.raises(UserError, match=r"other/x3\.tif"):
        predict_folder(predictor(), [tmp_path / "other/x3.tif"], out)
    with pytest.raises(UserError, match="no image"):
        predict_folder(predictor(), [], out)
    assert not out.exists()


def test_masks_of_ids_that_differ_in_a_sign_do_not_share_a_file(tmp_path):
    ids = ["a b", "a_b", "a/b", "a%2Fb"]
    source = [example | {"id": id_} for example, id_ in zip(examples(4), ids, strict=True)]
    masks = MaskFolder(predictor(), tmp_path)
    for example in source:
        masks.write(file_name(example["id"]), np.eye(3, dtype=bool)[example["seen"]], example["seen"].astype(np.uint8))
    names = ["a b", "a_b", "a%2Fb", "a%252Fb"]
    assert sorted(path.stem for path in (tmp_path / "ids").iterdir()) == sorted(names)
    for name, example in zip(names, source, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "ids" / f"{name}.png"), example["seen"])
        np.testing.assert_array_equal(masks.read(name), np.eye(3, dtype=bool)[example["seen"]][..., 1:])


def test_images_of_one_size_share_batches_with_little_filling(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(5):
        Image.fromarray(np.zeros((5, 7 + 16 * (i == 4)), np.uint8)).save(tmp_path / f"images/{i}.png")
    network = predictor(devices=jax.local_devices()[:1])
    before = set(network.program(forward_masks).shapes)
    predict_folder(network, tmp_path / "images", tmp_path / "out", batch_size=3)
    keys = network.program(forward_masks).shapes - before
    shapes = sorted({name: shape for name, shape, _ in key}["image"] for key in keys)
    # One program for each size. 4 images in batches of at most 3 are two batches of 2.
    assert shapes == [(1, 16, 32, 1), (2, 16, 16, 1)]


def test_folders_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(tmp_path / "images")
    predict_folder(predictor(), "~/images", "~/out")
    assert len(list((tmp_path / "out/ids").iterdir())) == 5


def test_results_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    write_images(tmp_path / "images")
    (tmp_path / "file").write_text("no folder")
    message = r"/file\b.*Not a directory"
    with pytest.raises(UserError, match=message):
        predict_folder(predictor(), tmp_path / "images", tmp_path / "file/out")
    made, masks = examples(1), MaskFolder(predictor(), tmp_path / "masks")
    masks.write("x0", np.eye(3, dtype=bool)[made[0]["seen"]], made[0]["seen"].astype(np.uint8))
    with pytest.raises(UserError, match=message):
        report.save_pictures(masks, made, [{"index": 0, "id": "x0", "iou/mean": 0.5}], tmp_path / "file/out")
    with pytest.raises(UserError, match=message):
        report.write_json(tmp_path / "file/out/val.json", {}, [])

    def denied(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(Path("/")), "mkdir", denied)
    with pytest.raises(UserError, match=r"/out: .*\(Permission denied\)"):
        predict_folder(predictor(), tmp_path / "images", tmp_path / "out")


@pytest.fixture
def one_image(tmp_path):
    """A folder with one image."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "images/a.png")
    return tmp_path / "images"


def test_a_page_of_someone_else_is_not_replaced(one_image, tmp_path):
    page = tmp_path / "out/index.html"
    page.parent.mkdir()
    eval_page = index_page.index_page("val", [], by="unet-jax eval")
    for text in ("<h1>my notes on unet-jax predict</h1>", eval_page):
        page.write_text(text)
        with pytest.raises(UserError, match=r"out/index\.html .*--overwrite"):
            predict_folder(predictor(), one_image, page.parent)
        assert page.read_text() == text
        assert list(page.parent.iterdir()) == [page]
    predict_folder(predictor(), one_image, page.parent, overwrite=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png")
    # The page is that of `predict_folder` now, which adds to it.
    predict_folder(predictor(), tmp_path / "b.png", page.parent)
    assert "overlays/b.png" in page.read_text()


def test_an_out_folder_that_holds_something_else_is_refused(one_image, tmp_path):
    data, run, file = tmp_path / "data", tmp_path / "run", tmp_path / "image.png"
    (data / "images").mkdir(parents=True)
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(file)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "masks/m.png")
    before = sorted(tmp_path.rglob("*"))
    for images, out, names in (
        (one_image, one_image, r"--out=\S*/images .*a\.png"),
        (one_image / "a.png", tmp_path / "data/../images", r"--out=\S*/images .*a\.png"),
        (tmp_path / "masks/m.png", tmp_path, r"--out=\S* .*masks/m\.png"),
        (one_image, run, r"--out=\S*/run .*config\.json"),
        (one_image, data, r"--out=\S*/data .*images/"),
        (one_image, file, r"--out=\S*/image\.png .*folder"),
        (one_image, "", "--out is empty"),
        (["", one_image], tmp_path / "out", "image is empty"),
    ):
        for overwrite in (False, True):
            with pytest.raises(UserError, match=names):
                predict_folder(predictor(), images, out, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_masks_of_other_classes_are_not_mixed(one_image, tmp_path):
    out = tmp_path / "out"
    predict_folder(predictor(), one_image, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (one_image / "a.png").rename(one_image / "b.png")
    stack = {"class_names": ("background", "stack", "plate"), "report_classes": ("stack", "plate")}
    for fields in (stack, {"report_classes": NAMES[1:2]}):
        other = dataclasses.replace(predictor(), **fields)
        for overwrite in (False, True):
            with pytest.raises(
                UserError, match=r"out/masks holds masks of the classes anode, cathode, .*another folder"
            ):
                predict_folder(other, one_image, out, overwrite=overwrite)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    predict_folder(predictor(), one_image, out)


def test_results_do_not_go_into_the_folder_of_the_images(one_image, tmp_path):
    (tmp_path / "link").symlink_to(one_image)
    (one_image / "deep").mkdir()
    (tmp_path / "into").symlink_to(one_image / "deep")
    (tmp_path / "linked_ids").mkdir()
    (tmp_path / "linked_ids/ids").symlink_to(one_image / "deep")
    before = sorted(tmp_path.rglob("*"))
    for images, out in (
        (one_image, one_image / "masks"),
        (one_image, one_image / "masks/new"),
        (one_image, tmp_path / "link/masks"),
        (tmp_path / "link", one_image / "masks"),
        (one_image, tmp_path / "into"),
        (one_image, tmp_path / "into/masks"),
        (tmp_path / "into/..", one_image / "masks"),
        ([tmp_path / "images/a.png", one_image], one_image / "masks"),
        # With --overwrite this would replace the images themselves.
        (one_image, tmp_path / "linked_ids"),
    ):
        with pytest.raises(UserError, match=r"--out=\S* is inside the folder of the images, \S*/(images|link)\b"):
            predict_folder(predictor(), images, out)
    (tmp_path / "linked_ids/ids").unlink()
    (tmp_path / "linked_ids/ids").symlink_to(one_image)
    for images in (one_image, one_image / "a.png"):
        with pytest.raises(UserError, match=r"--out=\S*linked_ids holds the image \S*a\.png"):
            predict_folder(predictor(), images, tmp_path / "linked_ids", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    # The folder of an image that is given alone is often the current one.
    predict_folder(predictor(), one_image / "a.png", one_image / "masks")
    # A folder whose name begins like that of the images is another one.
    predict_folder(predictor(), one_image, tmp_path / "images2")


def test_names_that_a_file_system_takes_for_one_are_refused(tmp_path):
    for names in (("Scan.png", "scan.tif"), ("caf\u00e9.png", "cafe\u0301.png"), ("stra\u00dfe.png", "STRASSE.png")):
        images = tmp_path / names[0]
        images.mkdir()
        for name in names:
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(images / name)
        with pytest.raises(UserError, match="differ only in case or in their Unicode form"):
            predict_folder(predictor(), sorted(images.iterdir()), tmp_path / "out")
    bad = tmp_path / "\udcff.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(bad)
    with pytest.raises(UserError, match=r"xff\.png: .*UTF-8"):
        predict_folder(predictor(), bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_odd_names_keep_their_name(tmp_path):
    names = ["-x", "a b", ".hidden", "a.b.", "[1]*?", 'q"&<', "n" * 251]
    for name in names:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    predict_folder(predictor(), [tmp_path / f"{name}.png" for name in names], tmp_path / "out")
    for folder_ in ("ids", "masks/anode", "overlays"):
        assert sorted(path.name for path in (tmp_path / "out" / folder_).iterdir()) == sorted(
            f"{name}.png" for name in names
        )


def test_a_result_is_whole_or_not_there(one_image, tmp_path, monkeypatch):
    write = Path.write_bytes

    def die_after_half(self, content):
        write(self, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(Path("/")), "write_bytes", die_after_half)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(predictor(), one_image, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_an_image_that_cannot_be_predicted_is_named_before_anything_is_written(tmp_path, monkeypatch):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(images / "a.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(images / "deep.png")
    with pytest.raises(UserError, match=r"/deep\.png: .*16-bit.*nothing was written"):
        predict_folder(predictor(dtype="uint8"), images, out)
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(images / "large.png")
    # The plan of 4 x 4 pixels fits, that of 20 x 40 does not. The largest image comes first.
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 10000)
    network = predictor(lost=4, devices=jax.local_devices()[:1])
    with pytest.raises(UserError, match=r"/large\.png: an image of 40 x 56 pixels does not fit into the memory"):
        predict_folder(network, images, out)
    assert not out.exists()


def test_files_that_are_no_images_are_named(one_image, tmp_path, capsys):
    for name in ("image.txt", "g.ico", ".DS_Store", "Thumbs.db", "._a.png"):
        (one_image / name).write_text("")
    (one_image / "deeper.d").mkdir()
    # An error is one line.
    with pytest.raises(UserError, match="--out"):
        predict_folder(predictor(), one_image, one_image)
    assert capsys.readouterr().err == ""
    predict_folder(predictor(), one_image, tmp_path / "out")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"images: .* 3 files or folders .*: deeper\.d, g\.ico, image\.txt$", line)
    # The suffix decides for a file that is given alone, too.
    with pytest.raises(UserError, match=r"g\.ico: .*\.png"):
        find_inputs([one_image, one_image / "g.ico"])
    for number in range(9):
        (one_image / f"{number}.csv").write_text("")
    predict_folder(predictor(), one_image, tmp_path / "out", overwrite=True)
    assert re.search(r"12 files or folders .*: 0\.csv, 1\.csv, 2\.csv, \.\.\.$", capsys.readouterr().err)


def test_a_path_with_two_dots_is_printed_as_the_folder_it_leads_to(one_image, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folders = predict_folder(predictor(), "../images", "../out")["folders"]
    assert folders[0] == str(tmp_path / "out/ids")
    # A relative path without dots stays as it was given.
    assert predict_folder(predictor(), "../images", "out")["folders"][0] == "out/ids"
