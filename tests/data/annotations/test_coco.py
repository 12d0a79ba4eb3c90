"""COCO JSON: polygons, run lengths, crowds and what is refused."""

import copy

import numpy as np
import pytest
from helpers.annotations import SIZE, SQUARE
from pycocotools import mask as coco_mask

from unet_jax.data.annotations.formats import coco
from unet_jax.errors import UserError

FLAT = [float(number) for point in SQUARE for number in point]
SHIFTED = [number + 8 for number in FLAT]


def encoded(mask, compressed=True):
    """Returns run lengths as pycocotools writes them."""
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if compressed:
        return {"size": rle["size"], "counts": rle["counts"].decode()}
    columns = np.concatenate([[0], mask.T.ravel(), [2]])
    changes = np.flatnonzero(np.diff(columns.astype(int)))
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0).tolist()}


@pytest.fixture
def file(sources):
    """A file of two classes, whose ids have gaps and are not sorted, and one square."""
    sources.image("a.png")
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 90, "name": "cell"}, {"id": 3, "name": "nucleus"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 90, "segmentation": [FLAT]}],
    }


def import_(sources, file, name="labels.json", **options):
    sources.write(name, file)
    return sources.convert(**options)


def annotation(segmentation, **more):
    return {"id": 5, "image_id": 7, "category_id": 90, "segmentation": segmentation, **more}


def test_a_square_has_100_pixels_and_ids_follow_category_ids(sources, file):
    facts = import_(sources, file)
    assert facts["data"]["class_names"] == ["background", "nucleus", "cell"]
    expected = np.zeros(SIZE, np.uint8)
    expected[2:12, 2:12] = 2
    np.testing.assert_array_equal(sources.mask("a"), expected)
    np.testing.assert_array_equal(sources.mask("a", "instances"), expected > 0)


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths(sources, file, compressed):
    rng = np.random.default_rng(0)
    mask = rng.random(SIZE) < 0.4
    mask[:, 4:9] = False
    file["annotations"] = [annotation(encoded(mask, compressed), iscrowd=1)]
    import_(sources, file)
    np.testing.assert_array_equal(sources.mask("a"), 2 * mask)


def test_runs_longer_than_one_digit(sources, file):
    """Runs of a large image have several digits, and their differences are negative, too."""
    rng = np.random.default_rng(1)
    size = (500, 700)
    for density in (0.001, 0.5, 0.999):
        mask = rng.random(size) < density
        counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        assert sum(coco._runs(counts, "")) == mask.size
        decoded = coco._decode({"size": list(size), "counts": counts}, "", size)
        np.testing.assert_array_equal(decoded, mask)


def test_polygons_of_an_object_are_a_union(sources, file):
    """By the even-odd rule the part in both would be empty."""
    file["annotations"] = [annotation([FLAT, [number + 4 for number in FLAT]])]
    import_(sources, file)
    assert (sources.mask("a") > 0).sum() == 100 + 100 - 36
    assert sources.mask("a", "instances").max() == 1


def test_later_objects_win_and_each_is_numbered(sources, file):
    file["annotations"] += [annotation([SHIFTED], id=2, category_id=3)]
    import_(sources, file)
    assert sources.mask("a")[11, 11] == 1
    assert np.unique(sources.mask("a", "instances"), return_counts=True)[1].tolist() == [600 - 196, 96, 100]


def test_overlap_can_be_refused(sources, file):
    file["annotations"] += [annotation([SHIFTED], id=2, category_id=3)]
    with pytest.raises(
        UserError, match=r"a.png: an object of the class 'nucleus' shares 4 pixels .* column 10, row 10"
    ):
        import_(sources, file, overlaps="error")
    assert not sources.out.exists()


def test_a_crowd_is_kept_or_left_out_of_the_instances(sources, file):
    mask = np.zeros(SIZE, bool)
    mask[15:18, 20:25] = True
    file["annotations"] += [annotation(encoded(mask), id=2, iscrowd=1)]
    import_(sources, file, crowds="leave_out")
    assert (sources.mask("a") > 0).sum() == 115
    assert (sources.mask("a", "instances") > 0).sum() == 100
    sources.out = sources.out.with_name("kept")
    sources.convert()
    assert (sources.mask("a", "instances") == 2).sum() == 15


def test_polygons_through_the_centres_of_pixels(sources, file):
    """A mask of rows and columns 2..11 comes from supervision as the polygon 2, 2, 2, 11, 11, 11, 11, 2."""
    file["annotations"] = [annotation([[2, 2, 2, 11, 11, 11, 11, 2]])]
    import_(sources, file, polygon_points="centres")
    assert sources.mask("a").any(1).sum() == sources.mask("a").any(0).sum() == 10


def wrong(**change):
    return lambda file: file["annotations"][0].update(change)


GOOD = encoded(np.ones(SIZE, bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong(segmentation=[]), "annotation 1: its segmentation is missing or empty"),
        (wrong(segmentation=None), "annotation 1: its segmentation is missing or empty"),
        (wrong(segmentation=[[1, 2, 3, 4]]), "annotation 1: its segmentation has a polygon of fewer than three points"),
        (wrong(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation 1: its points are not pairs"),
        (
            wrong(segmentation={**GOOD, "size": [30, 20]}),
            r"annotation 1: its run lengths are for \[30, 20\] .* \[20, 30\]",
        ),
        (
            wrong(segmentation={"size": [20, 30], "counts": [5, 20]}),
            "annotation 1: its run lengths do not add up to 20 x 30",
        ),
        (wrong(segmentation={"size": [20, 30], "counts": [700, -100]}), "annotation 1: its run lengths do not add up"),
        (wrong(segmentation={"size": [20, 30], "counts": "05"}), "annotation 1: its run lengths do not add up"),
        (
            wrong(segmentation={"size": [20, 30], "counts": "0~"}),
            "annotation 1: its run lengths hold the character '~'",
        ),
        (wrong(segmentation={"size": [20, 30], "counts": "0h"}), "annotation 1: its run lengths end in the middle"),
        (wrong(segmentation={"size": [20, 30], "counts": 5}), "annotation 1: its run lengths are neither"),
        (wrong(category_id=4), "annotation 1: category_id 4 is not in the file"),
        (wrong(image_id=4), "annotation 1 is of image 4, which is not in the file"),
        (lambda file: file["images"][0].update(height=21), r"a.png: has 30 x 20 pixels, but .* was drawn on 30 x 21"),
        (lambda file: file["images"][0].update(file_name="b.png"), "its image 'b.png' is not in"),
        (lambda file: file["images"][0].pop("file_name"), r"lacks a key, or is none \(KeyError\('file_name'\)\)"),
        (lambda file: file["categories"].append({"id": 3, "name": "x"}), "two categories have the same id"),
        (lambda file: file["categories"].append({"id": 4, "name": "cell"}), "two categories have the same name"),
        (
            lambda file: file["annotations"].clear(),
            "a.png: the source says nothing about this image; set --unannotated",
        ),
    ],
)
def test_what_is_refused(sources, file, change, message):
    change(file)
    with pytest.raises(UserError, match=message):
        import_(sources, file)
    assert not sources.out.exists()
    assert [path.name for path in sources.out.parent.iterdir()] == ["source"]


def test_annotations_without_area_can_be_passed_over(sources, file):
    file["annotations"] += [annotation([]), annotation([[1, 2, 3, 4]])]
    import_(sources, file, no_area="skip")
    assert sources.notes == ["2 annotations without a segmentation were passed over"]


def test_the_names_of_files_give_the_splits(sources, file):
    for split in ("train", "val"):
        sources.image(f"{split}/a.png")
        part = copy.deepcopy(file)
        part["images"][0]["file_name"] = f"{split}/a.png"
        sources.write(f"instances_{split}2017.json", part)
    sources.convert()
    assert (sources.out / "index.csv").read_text() == "id,split\na,train\nval_a,val\n"
    assert sorted(path.name for path in (sources.out / "images").iterdir()) == ["a.png", "val_a.png"]


def test_files_with_other_categories_do_not_mix(sources, file):
    sources.write("train.json", file)
    sources.write("val.json", {**file, "categories": file["categories"][:1], "annotations": []})
    with pytest.raises(UserError, match=r"val.json: its categories are cell, those of .*train.json nucleus, cell"):
        sources.convert()


def test_images_in_another_folder(sources, file):
    sources.image("pictures/b.png")
    file["images"][0]["file_name"] = "C:\\data\\b.png"
    import_(sources, file, images=str(sources.root / "pictures"))
    assert (sources.mask("b") > 0).sum() == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": [{"id": 1, "name": ""}]}, "category 1 has no name"),
        ({"categories": [{"id": 1, "name": None}]}, "category 1 has no name"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": [1]}]}, r"category_id \[1\] is not in the file"),
    ],
)
def test_damaged_categories_are_refused(sources, change, message):
    sources.image("a.png")
    whole = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    sources.write("a.json", whole | change)
    with pytest.raises(UserError, match=message):
        sources.convert()


def test_one_image_under_two_paths_is_refused(sources):
    sources.image("a.png")
    sources.image("s/b.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "s/../a.png"}]
    square = {"category_id": 1, "segmentation": [[2, 2, 12, 2, 12, 12]]}
    annotations = [{"id": number, "image_id": number} | square for number in (1, 2)]
    sources.write("a.json", {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]})
    with pytest.raises(UserError, match=r"a\.png: is annotated twice"):
        sources.convert()
