"""True masks from files: class ids, or a folder for each class."""

import numpy as np
import pytest
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.measurement.true_masks import TrueMasks

IDS = np.array([[0, 1, 2], [255, 0, 2]], np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_ids_become_a_mask_for_each_class_and_void_is_none(tmp_path):
    save(tmp_path / "a.png", IDS)
    masks = TrueMasks(tmp_path)
    assert masks.names == ("class_1", "class_2")
    read = masks.read("a")[..., masks.channels]
    assert read.astype(int).tolist() == [[[0, 0], [1, 0], [0, 1]], [[0, 0], [0, 0], [0, 1]]]
    assert TrueMasks(tmp_path, ("b", "anode", "cathode")).names == ("anode", "cathode")
    one = TrueMasks(tmp_path, ("b", "anode", "cathode"), measured=("cathode",))
    assert one.read("a")[..., one.channels].astype(int).tolist() == [[[0], [0], [1]], [[0], [0], [1]]]


def test_values_of_classes(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 128]], np.uint8))
    assert TrueMasks(tmp_path, ("b", "cell"), (0, 128)).read("a")[..., 1].tolist() == [[False, True]]


def test_a_folder_for_each_class_may_overlap(tmp_path):
    save(tmp_path / "anode" / "a.png", np.array([[255, 255, 0]], np.uint8))
    save(tmp_path / "hot_spot" / "a.png", np.array([[0, 1, 1]], np.uint8))
    assert TrueMasks(tmp_path).names == ("anode", "hot_spot")
    masks = TrueMasks(tmp_path, ("background", "hot spot", "anode"))
    assert masks.names == ("hot spot", "anode")
    assert masks.read("a")[..., masks.channels].astype(int).tolist() == [[[0, 1], [1, 1], [1, 0]]]


def test_what_decides_the_masks_is_in_the_settings(tmp_path):
    for name in ("anode", "cathode"):
        save(tmp_path / name / "a.png", np.zeros((2, 2), np.uint8))
    before = TrueMasks(tmp_path).settings()
    assert TrueMasks(tmp_path).settings() == before
    save(tmp_path / "cathode" / "a.png", np.zeros((20, 20), np.uint8))
    assert TrueMasks(tmp_path).settings() != before


def test_what_is_refused(tmp_path):
    save(tmp_path / "ids" / "a.png", IDS)
    save(tmp_path / "classes" / "anode" / "a.png", IDS)
    save(tmp_path / "classes" / "cathode" / "b.png", IDS)
    save(tmp_path / "binary" / "a.png", np.where(IDS, 255, 0).astype(np.uint8))
    numbers = np.pad(np.kron(np.arange(1, 37, dtype=np.uint8).reshape(6, 6), np.ones((4, 4), np.uint8)), 2)
    save(tmp_path / "instances" / "a.png", numbers)
    (tmp_path / "empty").mkdir()
    for folder, arguments, message in (
        ("none", (), "--truth=.*none: is no folder"),
        ("empty", (), "holds neither masks nor a folder of masks for each class"),
        ("classes", (), "the class cathode has other masks than anode: a"),
        ("classes", (("b", "plate"),), "has no folder of the class plate"),
        (
            "classes",
            (("anode", "cathode"),),
            "--class_names=anode,cathode: the first is the background.*has a folder of it",
        ),
        ("classes", ((), (0, 255)), "--mask_values=0,255: .*has a folder for each class"),
        ("ids", (("b", "anode"),), r"a\.png: holds the ids 0, 1, 2, but there are 2 classes.*--class_names"),
        ("ids", (("b", "anode"), (0, 1, 2)), "class_names.*2.*mask_values.*3|mask_values.*3.*class_names.*2"),
        ("binary", (), "all masks hold only the values 0 and 255.*--mask_values"),
        ("binary", (("b", "anode"),), "all masks hold only the values 0 and 255.*--mask_values"),
        ("instances", (), "like numbers of instances"),
        ("ids", (("b", "anode", "c"), (), ("plate",)), "the class plate, which the network finds, is not one of them"),
    ):
        with pytest.raises(UserError, match=message):
            TrueMasks(tmp_path / folder, *arguments)
    with pytest.raises(UserError, match="has no mask of the image x and 1 more"):
        TrueMasks(tmp_path / "ids").check_images(["a", "x", "y"])


def test_masks_of_classes_of_other_sizes(tmp_path):
    save(tmp_path / "a" / "x.png", np.zeros((2, 2), np.uint8))
    save(tmp_path / "b" / "x.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(UserError, match=r"b/x\.png: has another size than the mask of a"):
        TrueMasks(tmp_path).read("x")
