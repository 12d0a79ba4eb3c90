"""ImageJ ROIs: which pixels they cover, on which pages, of which image, and what is refused."""

import zipfile

import cv2
import numpy as np
import pytest
import roifile
import tifffile
from helpers.annotated import named, painted, read

from unet_jax.data.annotations import registry
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import open_source
from unet_jax.errors import UserError

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12]]


def roi(points=SQUARE, name="cell", **fields):
    one = roifile.ImagejRoi.frompoints(np.array(points), name=name)
    for key, value in fields.items():
        setattr(one, key, value)
    return one


def box(kind, left, top, right, bottom, **fields):
    one = roifile.ImagejRoi(name="cell", roitype=kind, left=left, top=top, right=right, bottom=bottom)
    for key, value in fields.items():
        setattr(one, key, value)
    return one


def composite(*outlines, name="cell"):
    path = []
    for outline in outlines:
        for step, (x, y) in enumerate(outline):
            path += [1 if step else 0, x, y]
        path += [4]
    data = np.array(path, np.float32)
    return roifile.ImagejRoi(
        name=name, roitype=roifile.ROI_TYPE.RECT, right=20, bottom=20, shape_roi_size=len(data), multi_coordinates=data
    )


def save(folder, *rois, image="a.png", file="a.zip"):
    cv2.imwrite(str(folder / image), np.zeros((20, 30), np.uint8))
    with zipfile.ZipFile(folder / file, "w") as archive:
        for number, one in enumerate(rois):
            archive.writestr(f"entry {number}.roi", one.tobytes())
    return folder


def covered(folder, one):
    return painted(read(save(folder, one)))["cell"]


@pytest.mark.parametrize("kind", ["POLYGON", "FREEHAND", "TRACED"])
@pytest.mark.parametrize(("points", "first"), [(SQUARE, 2), (np.array(SQUARE) + 0.5, 3)])
def test_an_outline_covers_the_pixels_whose_centres_lie_inside(tmp_path, kind, points, first):
    expected = np.zeros((20, 30), bool)
    expected[first : first + 10, first : first + 10] = True
    np.testing.assert_array_equal(covered(tmp_path, roi(points, roitype=roifile.ROI_TYPE[kind])), expected)


@pytest.mark.parametrize(("kind", "count"), [("RECT", 100), ("OVAL", 80)])
def test_rectangle_and_oval_cover_their_box_of_whole_numbers(tmp_path, kind, count):
    whole = box(roifile.ROI_TYPE[kind], 2, 3, 12, 13)
    within = box(roifile.ROI_TYPE[kind], 2, 3, 12, 13, options=roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION, version=223)
    within.xd, within.yd, within.widthd, within.heightd = 2.4, 3.4, 10.3, 10.3
    first, second = (covered(tmp_path, one) for one in (whole, within))
    assert first.sum() == count
    assert (np.flatnonzero(first.any(0))[[0, -1]].tolist(), np.flatnonzero(first.any(1))[[0, -1]].tolist()) == (
        [2, 11],
        [3, 12],
    )
    np.testing.assert_array_equal(first, second)


def test_what_an_even_number_of_outlines_of_a_composite_surround_is_a_hole(tmp_path):
    inner = [[5, 5], [9, 5], [9, 9], [5, 9]]
    apart = [[15, 2], [18, 2], [18, 4], [15, 4]]
    mask = covered(tmp_path, composite(SQUARE, inner, apart))
    assert mask.sum() == 100 - 16 + 6
    assert not mask[5:9, 5:9].any()
    assert mask[2:4, 15:18].all()


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (roi(options=roifile.ROI_OPTIONS.SPLINE_FIT), "has a spline fit.*Interpolate"),
        (
            box(roifile.ROI_TYPE.RECT, 2, 2, 9, 9, rounded_rect_arc_size=4),
            "is a rectangle with round corners .arc size 4",
        ),
        (roi(roitype=roifile.ROI_TYPE.POLYLINE), "is a segmented line, which covers no pixels"),
        (roi(roitype=roifile.ROI_TYPE.FREELINE), "is a freehand line"),
        (roi(roitype=roifile.ROI_TYPE.ANGLE), "is an angle"),
        (roi(roitype=roifile.ROI_TYPE.POINT), "is points"),
        (box(roifile.ROI_TYPE.LINE, 2, 2, 9, 9, stroke_width=5), "is a line"),
        (roi(subtype=roifile.ROI_SUBTYPE.ELLIPSE), "is an ellipse or a turned rectangle without its outline"),
    ],
)
def test_what_covers_no_stated_pixels_is_refused_by_name(tmp_path, one, message):
    with pytest.raises(UserError, match=rf"a\.zip: entry 0\.roi: {message}"):
        read(save(tmp_path, one))


def test_lines_are_passed_over_with_a_note_if_asked(tmp_path):
    notes = []
    images = read(save(tmp_path, roi(roitype=roifile.ROI_TYPE.POINT), roi()), no_area="skip", on_note=notes.append)
    assert [item.label for item in images[0].objects] == ["cell"]
    assert notes == [f"{tmp_path}/a.zip: entry 0.roi: is points and is passed over"]


def test_the_outline_of_an_ellipse_is_taken_where_it_has_fractions(tmp_path):
    assert covered(tmp_path, roi(np.array(SQUARE) + 0.5, subtype=roifile.ROI_SUBTYPE.ELLIPSE)).sum() == 100


def test_a_label_is_the_name_of_the_roi_or_one_for_all(tmp_path):
    save(tmp_path, roi(name="left"), roi(name=""))
    assert named(read(tmp_path)) == {"a.png": ["left", "entry 1"]}
    assert named(read(tmp_path, label="cell")) == {"a.png": ["cell", "cell"]}


@pytest.mark.parametrize("given", ["0007-0012", "0002-0007-0012", "0002-0007-0012-1", "17"])
def test_a_name_that_imagej_gave_is_no_label(tmp_path, given):
    with pytest.raises(
        UserError, match="has no name of a class; rename it in the ROI Manager, or give all the label --label"
    ):
        read(save(tmp_path, roi(name=given)))


def test_a_roi_file_belongs_to_the_image_of_its_name(tmp_path):
    save(tmp_path, roi(), image="b.png", file="b.zip")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5), np.uint8))
    roi(name="one").tofile(tmp_path / "c.png.roi")
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((20, 20), np.uint8))
    images = read(tmp_path)
    assert {image.image.name: image.objects and len(image.objects) for image in images} == {
        "a.png": None,
        "b.png": 1,
        "c.png": 1,
    }
    roi().tofile(tmp_path / "b.roi")
    with pytest.raises(UserError, match=r"b\.zip: belongs to .*b\.png, and so does .*b\.roi"):
        read(tmp_path)


def test_the_name_that_the_manager_proposes_stands_for_the_one_image(tmp_path):
    save(tmp_path, roi(), file="RoiSet.zip")
    assert named(read(tmp_path)) == {"a.png": ["cell"]}
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match=r"RoiSet\.zip: no image in .* has the name 'RoiSet'"):
        read(tmp_path)


def test_images_may_lie_in_another_folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    save(tmp_path, roi(), image="pictures/a.png")
    assert named(read(tmp_path, images=str(tmp_path / "pictures"))) == {"a.png": ["cell"]}
    with pytest.raises(UserError, match=r"a\.zip: no image in"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("fields", "pages"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"position": 2}, [0]),
        ({"position": 3}, [1]),
        ({"z_position": 3}, [2, 5]),
        ({"t_position": 2}, [3, 4, 5]),
        ({"c_position": 2, "z_position": 1, "t_position": 2}, [3]),
    ],
)
def test_positions_count_from_one_and_none_stands_for_all(tmp_path, fields, pages):
    # Two frames of three slices of two channels, each a page of two channels.
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 2, 20, 30), np.uint8), imagej=True, metadata={"axes": "TZCYX"})
    roi(**fields).tofile(tmp_path / "a.roi")
    images = read(tmp_path)
    assert [(image.page, image.size) for image in images] == [(page, (20, 30)) for page in pages]


def test_a_position_that_the_image_lacks_is_refused(tmp_path):
    roi(position=3).tofile(save(tmp_path) / "a.roi")
    (tmp_path / "a.zip").unlink()
    with pytest.raises(UserError, match=r"a\.roi: lies on slice 1, frame 3, but a\.png has slices: 1, frames: 1"):
        read(tmp_path)


def test_the_active_selection_in_a_tiff_is_no_annotation(tmp_path):
    notes = []
    inside = {"Overlays": [roi().tobytes(), roi(name="dot").tobytes()], "ROI": roi(name="").tobytes()}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.uint8), imagej=True, metadata=inside)
    assert registry.FORMATS["imagej"].recognise(open_source(tmp_path))
    assert named(read(tmp_path / "a.tif", on_note=notes.append)) == {"a.tif": ["cell", "dot"]}
    assert notes == [f"{tmp_path}/a.tif: passes over the active selection, which belongs to no overlay"]
    # A file of ROIs goes before the overlay.
    roi(name="other").tofile(tmp_path / "a.roi")
    assert named(read(tmp_path)) == {"a.tif": ["other"]}


@pytest.mark.parametrize(("name", "labels"), [("cell", ["cell"]), ("", None)])
def test_a_selection_of_the_manager_counts_where_there_is_no_overlay(tmp_path, name, labels):
    metadata = {"ROI": roi(name=name).tobytes()}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.uint8), imagej=True, metadata=metadata)
    assert named(read(tmp_path, on_note=lambda line: None)) == {"a.tif": labels}


def test_damaged_files_are_refused_by_name(tmp_path):
    save(tmp_path)
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.roi").write_bytes(b"Iout" + bytes(10))
    with pytest.raises(UserError, match=r"a\.roi: cannot be read as an ImageJ ROI .*too short"):
        read(tmp_path)


def test_without_roifile_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "roifile", None)
    with pytest.raises(UserError, match=r"needs roifile; pip install 'unet-jax\[annotations\]'"):
        registry.FORMATS["imagej"].read(open_source(save(tmp_path, roi())), Options())


def test_the_number_that_the_manager_adds_is_no_class(tmp_path):
    save(tmp_path, roi(name="cell"), roi(name="cell-1"), roi(name="cell-12"), roi(name="T-cell"))
    (annotated,) = read(tmp_path)
    assert [item.label for item in annotated.objects] == ["cell", "cell", "cell", "T-cell"]


def test_a_number_of_unknown_meaning_is_refused_unless_all_have_a_label(tmp_path):
    save(tmp_path, roi(name="cell-1"), roi(name="cell-2"))
    with pytest.raises(UserError, match=r"is called 'cell-1', and nothing tells whether the number"):
        read(tmp_path)
    (annotated,) = read(tmp_path, label="nucleus")
    assert [item.label for item in annotated.objects] == ["nucleus", "nucleus"]


def test_a_damaged_zip_beside_others_is_refused(tmp_path):
    """Else its image would be one without ROIs."""
    save(tmp_path, roi())
    save(tmp_path, roi(), image="b.png", file="b.zip")
    data = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"b\.zip: cannot be read as a zip of ROIs"):
        read(tmp_path)
