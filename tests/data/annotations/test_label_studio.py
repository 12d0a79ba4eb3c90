"""Label Studio JSON: percent and pixels, turns, brushes, labels, image paths, and what is refused."""

import numpy as np
import pytest
from helpers.annotated import named, painted, read
from helpers.annotations import SIZE, SQUARE

from unet_jax.errors import UserError


def percent(x, y):
    return x / SIZE[1] * 100, y / SIZE[0] * 100


def result(kind="polygonlabels", label="cell", **value):
    value = value or {"points": [percent(x, y) for x, y in SQUARE], "closed": True}
    labels = {kind: [label]} if label else {}
    return {
        "id": "x", "type": kind, "value": value | labels, "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
    }  # fmt: skip


def task(*results, image="a.png", **more):
    return {
        "id": 7,
        "data": {"image": image},
        "annotations": [{"result": list(results), "was_cancelled": False}],
    } | more


def save(sources, *tasks):
    sources.image("a.png")
    sources.write("tasks.json", list(tasks))
    return sources.root


def covered(sources, one):
    return painted(read(save(sources, task(one))))["cell"]


def rectangle(x, y, width, height, turn=0.0):
    (x, y), (width, height) = percent(x, y), percent(width, height)
    return result("rectanglelabels", x=x, y=y, width=width, height=height, rotation=turn)


def ellipse(x, y, across, down, turn=0.0):
    (x, y), (across, down) = percent(x, y), percent(across, down)
    return result("ellipselabels", x=x, y=y, radiusX=across, radiusY=down, rotation=turn)


def brush(rows):
    """Returns a brush over the given rows: for each pixel 4 values of a run of 0 or 255."""
    text = f"{4 * 600:032b}{7:05b}{15:04b}" + f"{3:04b}" * 3
    for row in range(20):
        text += f"100{4 * 30 - 1:016b}{255 if row in rows else 0:08b}"
    text += "0" * (-len(text) % 8)
    data = [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]
    return result("brushlabels", format="rle", rle=data)


@pytest.mark.parametrize("one", [result(), rectangle(2, 2, 10, 10)])
def test_percent_of_width_and_height_become_pixels(sources, one):
    expected = np.zeros(SIZE, bool)
    expected[2:12, 2:12] = True
    np.testing.assert_array_equal(covered(sources, one), expected)


def test_a_rectangle_is_turned_in_pixels_about_its_corner(sources):
    mask = covered(sources, rectangle(15, 2, 10, 4, turn=90))
    # Clockwise, the right end goes down, and what was below the corner goes to its left.
    assert mask.sum() == 40
    assert mask[2:12, 11:15].all()
    area = covered(sources, rectangle(15, 4, 8, 6, turn=45)).sum()
    assert area == pytest.approx(48, abs=3)


def test_an_ellipse_has_radii_and_a_turn(sources):
    assert covered(sources, ellipse(10, 10, 5, 5)).sum() == 80
    upright = covered(sources, ellipse(10, 10, 8, 2, turn=90))
    np.testing.assert_array_equal(upright[:, :20], covered(sources, ellipse(10, 10, 8, 2))[:, :20].T)


def test_a_brush_covers_its_pixels(sources):
    mask = covered(sources, brush({3, 4}))
    assert np.flatnonzero(mask.any(1)).tolist() == [3, 4]
    assert mask[3:5].all()


def test_a_label_may_be_a_result_of_its_own(sources):
    own = {"id": "x", "type": "labels", "value": {"labels": ["nucleus"]}}
    assert named(read(save(sources, task(result("polygon", label=""), own)))) == {"a.png": ["nucleus"]}
    save(sources, task(result("polygon", label="")))
    with pytest.raises(UserError, match="task 7: result 1, a polygon: has 0 labels, not 1"):
        read(sources.root)
    assert named(read(sources.root, label="cell")) == {"a.png": ["cell"]}


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0a1b2c3d-a.png",
        "/data/local-files/?d=folder/a.png",
        "https://host/x/a.png?token=1",
        "s3://bucket/a.png",
        "a%2Epng",
    ],
)
def test_the_image_is_found_by_its_name(sources, image):
    assert named(read(save(sources, task(result(), image=image)))) == {"a.png": ["cell"]}


def test_images_may_lie_in_another_folder(sources):
    save(sources, task(result(), image="/data/upload/1/0a1b2c3d-a.png"))
    sources.image("pictures/a.png")
    (sources.root / "a.png").unlink()
    assert named(read(sources.root, images=str(sources.root / "pictures"))) == {"a.png": ["cell"]}
    with pytest.raises(UserError, match=r"tasks\.json: task 7: its image '0a1b2c3d-a\.png' is not in"):
        read(sources.root)


def test_no_annotation_says_nothing_and_an_empty_one_says_none(sources):
    assert named(read(save(sources, task(annotations=[])))) == {"a.png": None}
    assert named(read(save(sources, task(annotations=[{"result": [], "was_cancelled": True}])))) == {"a.png": None}
    assert named(read(save(sources, task()))) == {"a.png": []}


def test_two_annotations_of_a_task_are_refused(sources):
    save(sources, task(annotations=[{"result": []}, {"result": []}]))
    with pytest.raises(UserError, match=r"task 7: has 2 annotations; keep one"):
        read(sources.root)


def test_points_are_passed_over_with_a_note_if_asked(sources):
    point = result("keypointlabels", x=1, y=2, width=1)
    choices = {"type": "choices", "value": {"choices": ["good"]}}
    save(sources, task(point, choices, result()))
    with pytest.raises(UserError, match="task 7: result 1, a keypointlabels: covers no pixels"):
        read(sources.root)
    assert named(read(sources.root, no_area="skip", on_note=sources.notes.append)) == {"a.png": ["cell"]}
    assert sources.notes == [f"{sources.root}/tasks.json: task 7: result 1, a keypointlabels: is passed over"]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (result() | {"image_rotation": 90}, r"turned by 90 degrees .image_rotation"),
        (result() | {"item_index": 1}, "one of several images"),
        (result() | {"original_width": 60}, "was drawn on 60 x 20 pixels, its image has 30 x 20"),
        (
            result() | {"type": "videorectangle"},
            "a videorectangle: is not read .polygon, rectangle, ellipse, brush are",
        ),
        (result() | {"value": {"points": [], "polygonlabels": ["a", "b"]}}, r"has 2 labels, not 1 .a, b"),
        (result(points=[[1, 2]]), "has 1 points, a polygon has at least 3"),
        (result(points=[[1, 2], [1, 3], [3, 3]], closed=False), "is not closed"),
        (result("ellipselabels", x=1, y=2, radiusX=0, radiusY=3), "are no ellipse"),
        (result("rectanglelabels", x=1, y="2", width=1, height=3), "its y '2' is not a number"),
        (result("brushlabels", rle=[1, 2]), "its rle ends too early"),
        (result("brushlabels", format="png"), "its format 'png' is not rle"),
    ],
)
def test_faults_name_file_task_and_result(sources, one, message):
    with pytest.raises(UserError, match=rf"tasks\.json: task 7: result 1, .*{message}"):
        read(save(sources, task(one)))


def test_the_short_export_is_not_taken_for_the_full_one(sources):
    sources.write("tasks.json", [{"image": "a.png", "label": []}])
    with pytest.raises(UserError, match="holds no annotations of a known format"):
        read(sources.root)


def test_damaged_addresses_and_ids(sources):
    save(sources, task(result(), image="http://[x/a.png"))
    with pytest.raises(UserError, match=r"its image 'http://\[x/a\.png' is no address"):
        sources.convert()
    save(sources, task({"id": [1], "type": "labels", "value": {"labels": ["cell"]}}))
    assert sources.convert()["objects"] == {}
