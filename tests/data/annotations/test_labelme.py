"""LabelMe JSON: every shape, and what is refused."""

import base64
import io

import numpy as np
import pytest
from helpers.annotations import SIZE, SQUARE
from PIL import Image

from unet_jax.errors import UserError


def shape(points, kind="polygon", label="cell", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def file(*shapes, image="a.png", **more):
    """A file as LabelMe 5 writes it; `imageHeight` is wrong, because the image itself counts."""
    return {
        "version": "5.11.4",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": None,
        "imageHeight": 1,
        "imageWidth": 1,
    } | more


def png(mask):
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture
def import_(sources):
    def run(*shapes, **options):
        sources.image("a.png")
        sources.write("a.json", file(*shapes))
        sources.convert(**options)
        return sources.mask("a")

    return run


MASK = np.zeros((5, 8), bool)
MASK[1:4, 2:7] = True


@pytest.mark.parametrize(
    ("points", "kind", "pixels"),
    [
        (SQUARE, "polygon", 100),
        ([[2.5, 2.5], [12.5, 2.5], [12.5, 12.5], [2.5, 12.5]], "polygon", 100),
        ([[12, 2], [2, 12]], "rectangle", 100),
        ([[2, 12], [12, 2]], "rectangle", 100),
        ([[10, 10], [10, 15]], "circle", 80),
        ([[10, 2], [18, 10], [10, 18], [2, 10]], "oriented_rectangle", 128),
    ],
)
def test_shapes(import_, points, kind, pixels):
    assert (import_(shape(points, kind)) == 1).sum() == pixels


@pytest.mark.parametrize("values", [MASK, MASK.astype(np.uint8), MASK.astype(np.uint8) * 255])
def test_a_mask_lies_at_its_first_point(import_, values):
    """The points are the first and the last pixel, with fractions in some versions; then the size of the PNG counts."""
    expected = np.zeros(SIZE, np.uint8)
    expected[10:15, 20:28] = MASK
    result = import_(shape([[20.3, 9.8], [27.2, 14.4]], "mask", mask=png(values)))
    np.testing.assert_array_equal(result, expected)


def test_a_mask_may_leave_the_image(import_):
    assert (import_(shape([[-4, 17], [3, 21]], "mask", mask=png(MASK))) == 1).sum() == 2 * 3


def test_shapes_of_a_group_are_one_object(sources, import_):
    parts = [[[x, 2], [x + 3, 2], [x + 3, 5], [x, 5]] for x in (1, 6, 11, 16)]
    import_(*(shape(points, group_id=group) for points, group in zip(parts, (1, None, 1, None), strict=True)))
    instances = sources.mask("a", "instances")
    assert [instances[3, x + 1] for x in (1, 11)] == [instances[3, 2]] * 2
    assert len(np.unique(instances)) == 4


def test_a_group_of_two_labels_is_two_objects(sources, import_):
    import_(shape(SQUARE, group_id=1), shape([[16, 2], [19, 2], [19, 5]], group_id=1, label="other"))
    assert len(np.unique(sources.mask("a", "instances"))) == 3


def test_later_shapes_win_and_labels_are_sorted(import_):
    mask = import_(shape(SQUARE, label="b"), shape([[4, 4], [8, 4], [8, 8], [4, 8]], label="a"))
    assert (mask[5, 5], mask[3, 3]) == (1, 2)


def test_the_order_of_labels_can_be_given(import_):
    assert import_(shape(SQUARE, label="b"), labels=("b", "a")).max() == 1


def test_an_unknown_label_is_refused_by_name(import_):
    with pytest.raises(UserError, match=r"a.png: has 1 objects of the class 'b', which is not in --labels=a"):
        import_(shape(SQUARE, label="b"), labels=("a",))


def test_background_and_void_are_no_classes(sources, import_):
    hole, unsure = ([[x, 4], [x + 2, 4], [x + 2, 8], [x, 8]] for x in (3, 7))
    mask = import_(shape(SQUARE), shape(hole, label="background"), shape(unsure, label="void"))
    assert np.unique(mask, return_counts=True)[1].tolist() == [600 - 92, 84, 8]
    assert mask[5, 7] == 255
    assert (sources.mask("a", "instances") > 0).sum() == 84


def test_version_7(sources):
    """It writes no null keys, and paths as on Windows."""
    sources.image("images/a.png")
    value = file(shape(SQUARE), version="7.9.1", image="..\\images\\a.png")
    del value["imageData"], value["shapes"][0]["group_id"], value["shapes"][0]["flags"]
    sources.write("json/a.json", value)
    sources.convert("json")
    assert (sources.mask("a") == 1).sum() == 100


def test_a_missing_image_is_taken_from_the_file(sources):
    image = sources.image("a.png")
    data = image.read_bytes()
    image.unlink()
    sources.write("a.json", file(shape(SQUARE), imageData=base64.b64encode(data).decode()))
    sources.convert()
    assert (sources.out / "images/a.png").read_bytes() == data


def test_a_file_without_shapes_is_background(import_):
    assert import_().max() == 0


def test_an_image_without_a_file_is_refused_or_as_the_user_says(sources):
    sources.image("a.png")
    sources.image("b.png")
    sources.write("a.json", file(shape(SQUARE)))
    with pytest.raises(UserError, match=r"b.png: the source says nothing about this image"):
        sources.convert()
    sources.convert(unannotated="background")
    assert sources.mask("b").max() == 0
    sources.out = sources.out.with_name("fewer")
    sources.convert(unannotated="skip")
    assert [path.name for path in (sources.out / "images").iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["point", "line", "linestrip"])
def test_points_and_lines_have_no_area(sources, import_, kind):
    """LabelMe itself draws a disc, or a line 10 pixels wide."""
    with pytest.raises(UserError, match=rf"a.json: shape 2 \('cell'\): is a {kind}, which has no area"):
        import_(shape(SQUARE), shape([[1, 2], [3, 4]], kind))
    assert (import_(shape(SQUARE), shape([[1, 2], [3, 4]], kind), no_area="skip") == 1).sum() == 100
    assert sources.notes == ["1 points and lines were passed over"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape([[1, 2], [3, 4]]), r"shape 1 \('cell'\): has 2 points"),
        (shape([[1, 2], [3, 4], [5, 6]], "rectangle"), "a rectangle has 2 points"),
        (shape([[1, 2]], "circle"), "a circle has 2 points"),
        (shape([[1, 2], [3, None]], "circle"), "a circle has 2 points"),
        (shape([[1, 2], [3, 4]], "star"), "its shape_type 'star' is unknown"),
        (shape([[1, 2], [8, 6]], "mask"), "its mask is not base64"),
        (shape([[1, 2], [8, 6]], "mask", mask="AAAA"), "its mask is no grey PNG"),
        (shape([[1, 2], [4, 6]], "mask", mask=png(MASK)), r"its mask has \(5, 8\) pixels .* span \(5, 4\)"),
        (shape(SQUARE, label=None), "shape 1 has no label"),
    ],
)
def test_what_is_refused(import_, wrong, message):
    with pytest.raises(UserError, match=message):
        import_(wrong)


@pytest.mark.parametrize("key", ["group_id", "shape_type"])
def test_a_list_in_place_of_a_value_is_refused(sources, key):
    sources.image("a.png")
    sources.write("a.json", file(shape(SQUARE) | {key: [1]}))
    with pytest.raises(UserError, match="is a list or an object"):
        sources.convert()
