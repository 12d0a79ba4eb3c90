"""The command line of `unet-jax predict`."""

import subprocess
import sys

import pytest
from helpers.documents import ROOT
from PIL import Image

from unet_jax.data.datasets.electrodes.render import render


@pytest.fixture
def images(tmp_path):
    """Two folders; an image of each has the name cell_1."""
    for folder, indices in (("a", (0, 1)), ("b", (1, 2))):
        (tmp_path / folder).mkdir()
        for index in indices:
            image = render(5, index, size=(64, 64))["image"][..., 0]
            Image.fromarray(image).save(tmp_path / folder / f"cell_{index}.png")
    return tmp_path


def predict(*arguments):
    command = [sys.executable, "-m", "unet_jax.programs.predict", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_shipped_network_predicts_files_and_folders(images):
    out = images / "out"
    done = predict("--model=electrodes", images / "a", images / "b/cell_2.png", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "3 images" in done.stdout
    names = [f"cell_{index}.png" for index in range(3)]
    for folder in ("ids", "masks/anode", "masks/cathode", "overlays"):
        assert str(out / folder) in done.stdout
        assert sorted(path.name for path in (out / folder).glob("*.png")) == names


def test_flags_choose_what_is_taken_and_written(images):
    """Trees, parts and formats in one command; their own tests go deeper."""
    (images / "b").rename(images / "a/b")
    flags = ("--recursive", "--save=ids,probabilities", "--mask_format=tiff", "--probability_format=zarr")
    done = predict("--model=electrodes", images / "a", f"--out={images / 'out'}", *flags, "--shard=2/2")
    assert done.returncode == 0, done.stderr
    assert "finished so far, with all parts: 2 of 4 images" in done.stdout
    assert "2/2 images" in done.stderr.replace("\r", "\n")
    assert sorted(str(path.relative_to(images / "out")) for path in (images / "out").glob("*/**/cell_*")) == [
        "ids/b/cell_2.tif",
        "ids/cell_1.tif",
        "probabilities/b/cell_2.zarr",
        "probabilities/cell_1.zarr",
    ]


def test_an_error_is_one_line_that_comes_before_anything_is_written(images):
    out = images / "out"
    for arguments, words in (
        ((images / "a", images / "b"), ("a/cell_1.png", "b/cell_1.png")),
        ((), ("IMAGE",)),
    ):
        done = predict("--model=electrodes", *arguments, f"--out={out}")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert all(word in done.stderr for word in words)
    assert not out.exists()
