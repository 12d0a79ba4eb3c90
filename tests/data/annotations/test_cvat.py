"""CVAT for images 1.1: which pixels shapes cover, their order and labels, and what is refused."""

import numpy as np
import pytest
from helpers.annotated import mask_of, named, painted, read
from helpers.annotations import SIZE, SQUARE

from unet_jax.errors import UserError

POINTS = ";".join(f"{x},{y}" for x, y in SQUARE)
POLYGON = f'<polygon label="cell" points="{POINTS}" z_order="0"/>'


def xml(shapes, labels=("cell", "nucleus"), image='name="a.png" width="30" height="20"', version="1.1", head=""):
    described = "".join(f"<label><name>{name}</name></label>" for name in labels)
    meta = f"<meta><task><labels>{described}</labels></task></meta>"
    return f"{head}<annotations><version>{version}</version>{meta}<image id='0' {image}>{shapes}</image></annotations>"


def save(sources, shapes=POLYGON, **more):
    sources.image("images/a.png")
    sources.write("annotations.xml", xml(shapes, **more))
    return sources.root


def covered(sources, shape):
    return painted(read(save(sources, shape)))["cell"]


def test_a_polygon_and_a_box_cover_the_centres_inside(sources):
    expected = np.zeros(SIZE, bool)
    expected[2:12, 2:12] = True
    for shape in (POLYGON, '<box label="cell" xtl="2" ytl="2" xbr="12" ybr="12"/>'):
        np.testing.assert_array_equal(covered(sources, shape), expected)


def test_a_box_is_turned_clockwise_about_its_centre(sources):
    box = '<box label="cell" xtl="6" ytl="8" xbr="16" ybr="12" rotation="{}"/>'
    upright = covered(sources, box.format(90.0))
    assert upright.sum() == 40
    assert upright[5:15, 9:13].all()
    # The right end goes down.
    turned = covered(sources, box.format(30))
    rows, columns = np.nonzero(turned)
    assert np.corrcoef(rows, columns)[0, 1] > 0.5
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((10, 11), abs=0.2)


def test_an_ellipse_has_radii_and_a_turn(sources):
    assert covered(sources, '<ellipse label="cell" cx="10" cy="10" rx="5" ry="5"/>').sum() == 80
    long = covered(sources, '<ellipse label="cell" cx="10" cy="10" rx="8" ry="2"/>')
    upright = covered(sources, '<ellipse label="cell" cx="10" cy="10" rx="8" ry="2" rotation="90"/>')
    np.testing.assert_array_equal(long[:, :20], upright[:, :20].T)
    rows, columns = np.nonzero(covered(sources, '<ellipse label="cell" cx="10" cy="10" rx="8" ry="2" rotation="30"/>'))
    assert np.corrcoef(rows, columns)[0, 1] > 0.5


def test_run_lengths_go_along_the_rows_of_the_box(sources):
    mask = covered(sources, '<mask label="cell" rle="1, 3, 2" left="4" top="5" width="3" height="2"/>')
    expected = np.zeros(SIZE, bool)
    expected[5, 5:7] = expected[6, 4] = True
    np.testing.assert_array_equal(mask, expected)


def test_the_higher_z_order_wins_and_labels_keep_their_order(sources):
    high = POLYGON.replace('z_order="0"', 'z_order="1"').replace("cell", "nucleus")
    save(sources, high + POLYGON, labels=("nucleus", "cell"))
    facts = sources.convert()
    assert facts["data"]["class_names"] == ["background", "nucleus", "cell"]
    assert np.unique(sources.mask("a")).tolist() == [0, 1]


def test_a_subset_is_a_split(sources):
    image = 'name="a.png" width="30" height="20" subset="Validation"'
    assert read(save(sources, image=image))[0].split == "val"


def test_an_image_without_shapes_says_nothing(sources):
    assert named(read(save(sources, ""))) == {"a.png": None}


def test_images_may_lie_in_another_folder(sources):
    save(sources)
    (sources.root / "images").rename(sources.root.parent / "pictures")
    assert named(read(sources.root, images=str(sources.root.parent / "pictures"))) == {"a.png": ["cell"]}
    with pytest.raises(UserError, match=r"annotations\.xml: its image 'a\.png' is not in"):
        read(sources.root)


def test_a_shape_outside_of_the_image_is_cut(sources):
    (image,) = read(save(sources, '<box label="cell" xtl="-5" ytl="-5" xbr="2" ybr="2"/>'))
    assert mask_of(image.objects[0], SIZE).sum() == 4


def test_points_are_passed_over_with_a_note_if_asked(sources):
    line = '<polyline label="cell" points="1,2;3,4"/>'
    assert named(read(save(sources, line + POLYGON), no_area="skip", on_note=sources.notes.append)) == {
        "a.png": ["cell"]
    }
    assert sources.notes == [
        f"{sources.root}/annotations.xml: image 'a.png': shape 1, a polyline 'cell': is passed over"
    ]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<points label="cell" points="1,2"/>', "a points 'cell': covers no stated pixels"),
        ('<star label="cell"/>', "a star 'cell': is not read .polygon, box, ellipse, mask are"),
        ('<polygon label="cell" points="1,2;3,4"/>', "a polygon 'cell': has 2 points"),
        ('<polygon label="cell" points="1,2;3,b;4,5"/>', "its points are not pairs of numbers"),
        (POLYGON.replace("cell", ""), "a polygon '': has no label"),
        ('<box label="cell" xtl="2" ytl="2" xbr="x" ybr="2"/>', "its xbr 'x' is not a number"),
        ('<ellipse label="cell" cx="2" cy="2" rx="0" ry="2"/>', "are no ellipse"),
        (
            '<mask label="cell" rle="1, 3" left="4" top="5" width="3" height="2"/>',
            "run lengths sum to 4, its box has 3 x 2",
        ),
        ('<mask label="cell" rle="1, a" left="4" top="5" width="3" height="2"/>', "its rle is not whole numbers"),
        ('<mask label="cell" rle="1, 5" left="28" top="5" width="3" height="2"/>', "leaves the image"),
    ],
)
def test_faults_name_file_image_and_shape(sources, shape, message):
    with pytest.raises(UserError, match=rf"annotations\.xml: image 'a\.png': shape 1, .*{message}"):
        read(save(sources, shape))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"version": "1.0"}, "is of version '1.0'; export it from CVAT as 'CVAT for images 1.1'"),
        ({"image": 'name="a.png" width="20" height="20"'}, "was annotated with 20 x 20 pixels, .* has 30 x 20"),
        ({"head": "<!DOCTYPE a [<!ENTITY b 'c'>]>"}, "declares the entity 'b' in line 1"),
        ({"head": "<"}, "is not XML .*line 1, column 1"),
    ],
)
def test_other_files_are_refused(sources, more, message):
    with pytest.raises(UserError, match=rf"annotations\.xml: .*{message}"):
        read(save(sources, **more))


def test_tracks_of_a_video_are_refused(sources):
    save(sources)
    sources.write("annotations.xml", xml("").replace("</annotations>", "<track/></annotations>"))
    with pytest.raises(UserError, match="holds tracks of a video"):
        read(sources.root)
