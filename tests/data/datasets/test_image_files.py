"""Every format of image and mask is read exactly; any other file is an error of one line that names it."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.image_folders import GREY, IDS, RNG
from PIL import Image

import unet_jax
from unet_jax.data.datasets import image_files, palettes, reading
from unet_jax.errors import UserError


def test_every_image_format_is_read_exactly(folder):
    rgb = RNG.integers(0, 256, (12, 10, 3)).astype(np.uint8)
    alpha = np.dstack([rgb, GREY])
    repeated = np.repeat(GREY[..., None], 3, -1)
    palette = Image.fromarray(GREY).convert("P")
    palette.putpalette(list(RNG.permutation(256)) * 3)
    cases = {
        "grey": (GREY, ".png", repeated),
        "bmp": (GREY, ".bmp", repeated),
        "tiff": (rgb, ".TIFF", rgb),
        "rgb": (rgb, ".png", rgb),
        "rgba": (alpha, ".png", rgb),
        "grey_alpha": (Image.fromarray(np.dstack([GREY, GREY[::-1]])), ".png", repeated),
        "palette": (palette, ".png", np.asarray(palette.convert("RGB"))),
    }
    for name, (image, suffix, _) in cases.items():
        folder.pair(name, image, image_suffix=suffix)
    folder.write("images/Thumbs.db", "not an image")
    folder.write("images/.hidden.png", "")
    examples = folder.examples()
    assert folder.create().channels == 3
    assert examples.keys() == cases.keys()
    for name, (_, _, want) in cases.items():
        np.testing.assert_array_equal(examples[name]["image"], want, err_msg=name)
        np.testing.assert_array_equal(examples[name]["mask"], IDS)


def test_sixteen_bits_and_different_sizes(folder):
    rgb16 = RNG.integers(0, 65536, (7, 9, 3)).astype(np.uint16)
    grey16 = RNG.integers(0, 65536, (5, 3)).astype(np.uint16)
    folder.pair("a", rgb16, IDS[:7, :9], ".tif")
    folder.pair("b", grey16, IDS[:5, :3], mask_suffix=".bmp")
    examples = folder.examples()
    assert folder.create().dtype == "uint16"
    np.testing.assert_array_equal(examples["a"]["image"], rgb16)
    np.testing.assert_array_equal(examples["b"]["image"], np.repeat(grey16[..., None], 3, -1))
    np.testing.assert_array_equal(examples["b"]["mask"], IDS[:5, :3])


def test_the_public_reader_gives_red_green_and_blue(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    colours = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(unet_jax.read_image("~/a.png"), colours)
    assert unet_jax.read_image is image_files.read_image
    assert "read_image" in unet_jax.__all__


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    no_file = r"cannot be read \(a pipe, a socket or a device"
    for path, says in ((tmp_path / "pipe.png", no_file), ("/dev/zero", no_file), (tmp_path, "is a folder")):
        for read in (unet_jax.read_image, image_files.read_mask):
            with pytest.raises(UserError, match=says):
                read(path)


def test_jpeg_images_are_read(folder):
    folder.pair("a", np.full_like(GREY, 100), image_suffix=".JPG")
    example = folder.examples()["a"]
    assert example["image"].shape == (12, 10, 1)
    assert abs(example["image"].astype(int) - 100).max() <= 1


def test_masks_keep_ids_of_every_kind(folder):
    palette = Image.fromarray(IDS)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 254] + [0] * 759)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 254]], np.uint8)
    void = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    folder.pair("palette", mask=palette)
    folder.pair("wide", mask=IDS.astype(np.uint16), mask_suffix=".tif")
    folder.pair("void", mask=void)
    folder.pair("binary", mask=Image.fromarray(IDS == 1))
    folder.pair("rgb", mask=colours[IDS])
    examples = folder.examples(palette=colours.tolist())
    for name, want in {"palette": IDS, "wide": IDS, "void": void, "binary": IDS == 1, "rgb": IDS}.items():
        assert examples[name]["mask"].dtype == np.uint8
        np.testing.assert_array_equal(examples[name]["mask"], want, err_msg=name)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_unreadable_files_are_named(folder, suffix, capfd):
    large = RNG.integers(0, 256, (64, 64)).astype(np.uint8)
    folder.pair("a", large, large % 2, image_suffix=suffix)
    folder.create()
    whole = (folder.root / f"images/a{suffix}").read_bytes()
    for broken in (whole[: len(whole) * 9 // 10], whole[:40], b"text"):
        folder.write(f"images/a{suffix}", broken)
        folder.raises(rf"images/a\{suffix}: .*(image|empty)")
    if suffix != ".jpg":
        folder.write(f"images/a{suffix}", whole)
        folder.write("masks/a.png", whole[:40])
        folder.raises(r"masks/a\.png: .*mask")
    assert capfd.readouterr().out == ""


def test_other_pixels_are_named(folder):
    folder.pair("a", image_suffix=".tif")
    tifffile.imwrite(folder.root / "images/a.tif", GREY.astype(np.complex64))
    folder.raises(r"a\.tif: .*SampleFormat 6")
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(folder.root / "images/a.tif", save_all=True, append_images=pages[1:])
    folder.raises(r"masks/a\.png: holds 1 pages, its image .*a\.tif 2")
    folder.write("images/a.tif", GREY)
    folder.pair("b", GREY.astype(np.uint16))
    folder.raises(r"b\.png: .*16-bit.*a\.tif.*8-bit")


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_the_content_decides_the_format(folder, part, suffix):
    for format_ in ("PNG", "TIFF", "BMP"):
        file = io.BytesIO()
        Image.fromarray(IDS).save(file, format_)
        folder.pair("a", IDS, IDS)
        (folder.root / part / "a.png").unlink()
        folder.write(f"{part}/a{suffix}", file.getvalue())
        np.testing.assert_array_equal(folder.examples()["a"][part.removesuffix("s")].squeeze(), IDS)
        (folder.root / part / f"a{suffix}").unlink()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\0ftypavif", "AVIF"),
        (b"\x1f\x8b", "gzip"),
        (b"8BPS", "Photoshop"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"text", "known"),
    ],
)
def test_other_formats_are_named(folder, content, name):
    folder.write("a.png", content + bytes(99))
    for read in (image_files.read_image, image_files.read_labels, image_files.read_mask, image_files.read_instances):
        with pytest.raises(UserError, match=rf"a\.png: .*{name}.*PNG"):
            read(folder.root / "a.png")


@pytest.mark.parametrize("error", [TypeError, struct.error, KeyError, IndexError, EOFError, MemoryError])
def test_whatever_a_decoder_raises_names_the_file(folder, monkeypatch, error):
    def damaged(*_):
        raise error("damaged")

    folder.pair("a", mask_suffix=".tif")
    monkeypatch.setattr(image_files.png, "read_image", damaged)
    monkeypatch.setattr(image_files.tiff, "open_labels", damaged)
    with pytest.raises(UserError, match=r"images/a\.png: .*(damaged|memory).*"):
        image_files.read_image(folder.root / "images/a.png")
    with pytest.raises(UserError, match=r"masks/a\.tif: .*(damaged|memory).*"):
        image_files.read_labels(folder.root / "masks/a.tif")


def test_values_that_are_no_ids_name_mask_values(folder):
    folder.pair("a", mask=(IDS % 2).astype(np.uint16) * 65535)
    folder.raises(r"masks/a\.png: .*0, 65535.*mask_values=\(0, 65535\)")
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 65535))["a"]["mask"], IDS % 2)
    values = np.array([[0, 2**32 - 1]], np.uint32)
    with pytest.raises(UserError, match=r"4294967295.*mask_values"):
        image_files.to_ids(values, "a.tif")
    np.testing.assert_array_equal(image_files.to_ids(values, "a.tif", (0, 2**32 - 1)), [[0, 1]])


def test_the_code_of_every_format_is_in_the_fingerprint():
    folder = Path(image_files.png.__file__).parent
    modules = {str(path) for path in (*folder.glob("*.py"), *folder.parent.glob("rows/zarr_*.py"))}
    modules.remove(str(folder / "__init__.py"))
    assert modules | {image_files.__file__, palettes.__file__, reading.__file__} == set(image_files.READERS)
