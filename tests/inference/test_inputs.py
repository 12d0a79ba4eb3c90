"""What is predicted: files, folders, trees of folders and patterns."""

import numpy as np
import pytest
import zarr
from helpers.grey_images import write_grey
from helpers.known_network import predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.inputs import find_inputs


def names(given, recursive=False):
    return [image.name for image in find_inputs(given, recursive).images]


@pytest.fixture
def tree(tmp_path):
    """A folder with images in it and in three of its subfolders."""
    for name in ("a.png", "day 1/b.tif", "day 1/deep.er/a.png", "day 2/a.png", ".hidden/a.png"):
        write_grey(tmp_path / "scans" / name)
    (tmp_path / "scans/day 2/notes.txt").touch()
    (tmp_path / "scans/empty").mkdir()
    return tmp_path / "scans"


def test_a_tree_is_taken_with_its_subfolders(tree):
    assert names([tree]) == ["a"]
    assert [path.name for path in find_inputs([tree]).others] == ["day 1", "day 2", "empty"]
    found = find_inputs([tree], recursive=True)
    assert names([tree], recursive=True) == ["a", "day 1/b", "day 2/a", "day 1/deep.er/a"]
    assert [path.name for path in found.others] == ["notes.txt"]
    # A file that is in the tree, too, is predicted once.
    assert len(names([tree / "day 1/b.tif", tree], recursive=True)) == 4
    with pytest.raises(UserError, match=r"day 1/deep\.er/a\.png and \S*scans/a\.png have one name, a"):
        names([tree, tree / "day 1/deep.er/a.png"])


def test_results_lie_in_the_same_subfolders(tree, tmp_path):
    out = tmp_path / "out"
    predict_folder(predictor(), tree, out, recursive=True)
    for folder in ("ids", "masks/anode", "masks/cathode", "overlays"):
        found = sorted(str(path.relative_to(out / folder)) for path in (out / folder).rglob("*.png"))
        assert found == ["a.png", "day 1/b.png", "day 1/deep.er/a.png", "day 2/a.png"]
    page = (out / "index.html").read_text()
    assert 'src="overlays/day%201/deep.er/a.png"' in page
    assert "<figcaption>day 1/deep.er/a</figcaption>" in page
    # Results that lie in the tree are not taken for images.
    (tree / "old").mkdir()
    out.rename(tree / "old/out")
    assert names([tree], recursive=True) == ["a", "day 1/b", "day 2/a", "day 1/deep.er/a"]


def test_a_tree_that_cannot_be_meant_is_refused(tree, tmp_path):
    (tree / "day 2/back").symlink_to(tree)
    with pytest.raises(UserError, match=r"day 2/back: leads back to \S*scans"):
        names([tree], recursive=True)
    (tree / "day 2/back").unlink()
    # A link to a folder elsewhere is followed.
    write_grey(tmp_path / "other/c.png")
    (tree / "day 3").symlink_to(tmp_path / "other")
    assert "day 3/c" in names([tree], recursive=True)
    write_grey(tree / "set/images/a.png")
    write_grey(tree / "set/masks/a.png")
    with pytest.raises(UserError, match=r"scans/set: is a data folder.*give \S*set/images"):
        names([tree], recursive=True)
    with pytest.raises(UserError, match=r"set: is a data folder"):
        names([tree / "set"], recursive=True)
    (tree / "set/prediction.json").touch()
    (tree / "set/images/a.png").unlink()
    (tree / "set/images").rmdir()
    with pytest.raises(UserError, match=r"set: holds the results of a prediction"):
        names([tree / "set"], recursive=True)
    (tmp_path / "above/below").mkdir(parents=True)
    with pytest.raises(UserError, match=r"above: has no image.*--recursive"):
        names([tmp_path / "above"])
    with pytest.raises(UserError, match=r"above: has no image; looked for [^;]*$"):
        names([tmp_path / "above"], recursive=True)


def test_pages_of_any_stack_are_images_of_their_own(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (2, 8, 9)).astype(np.uint8)
    first, *rest = [Image.fromarray(page) for page in stack]
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    zarr.create_array(str(tmp_path / "b.zarr"), data=stack, dimension_names=("z", "y", "x"))
    found = find_inputs([tmp_path]).images
    assert [image.name for image in found] == ["a_p000", "a_p001", "b_p000", "b_p001"]
    for image, page in zip(found, [*stack, *stack], strict=True):
        np.testing.assert_array_equal(image.read()[..., 0], page)


def test_a_suffix_of_two_parts_is_known_alone_and_by_a_pattern(tmp_path):
    for name in ("a.nii.gz", "b.tar.gz"):
        (tmp_path / name).touch()
    assert names([tmp_path / "a.nii.gz"]) == names([tmp_path / "*.gz"]) == ["a"]
    with pytest.raises(UserError, match=r"b\.tar\.gz: is no image file by its suffix"):
        names([tmp_path / "b.tar.gz"])


def test_results_of_a_tree_that_would_share_a_file_are_refused(tmp_path):
    for name in ("Day/a.png", "day/A.png", "b.csv/c.png"):
        write_grey(tmp_path / "one" / name)
    with pytest.raises(UserError, match="have names that differ only in case"):
        names([tmp_path / "one"], recursive=True)
    (tmp_path / "one/Day/a.png").unlink()
    write_grey(tmp_path / "one/b.png")
    with pytest.raises(UserError, match=r"b\.png and \S*c\.png: .* folder of the other, b\.csv"):
        names([tmp_path / "one"], recursive=True)
    write_grey(tmp_path / "two/x.png")
    write_grey(tmp_path / "three/x.tif")
    with pytest.raises(UserError, match=r"three/x\.tif and \S*two/x\.png have one name"):
        names([tmp_path / "two", tmp_path / "three"])


def test_a_pattern_takes_what_matches_it(tree, monkeypatch):
    assert names([tree / "*.png"]) == ["a"]
    assert names([tree / "day ?/[ab].tif"]) == ["b"]
    (tree / "day 1/deep.er/a.png").unlink()
    assert names([tree / "day*/**/*"]) == ["b", "a"]
    assert [path.name for path in find_inputs([f"{tree}/day*/*"]).others] == ["notes.txt"]
    monkeypatch.chdir(tree)
    # A folder that matches is taken as if it had been given; an empty one is no error then.
    assert names(["[ed]*"]) == ["b", "a"]
    with pytest.raises(UserError, match=r"x\*\.png: no file or folder has this name, and none matches"):
        names(["x*.png"])


def test_a_name_that_is_there_is_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("[ab].png", "a.png"):
        write_grey(tmp_path / name)
    assert names(["[ab].png"]) == ["[ab]"]
    (tmp_path / "[ab].png").unlink()
    assert names(["[ab].png"]) == ["a"]
