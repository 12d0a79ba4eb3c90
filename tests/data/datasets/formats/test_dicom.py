"""DICOM: what pydicom writes comes back, as a viewer shows it."""

import io
import sys

import numpy as np
import pydicom
import pytest
from helpers.dicom_files import saved
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from unet_jax.data.datasets.formats import declared, dicom
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

GREY = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300


def pictures(data, opened=dicom.open_image):
    found = opened("a.dcm", data, Reading())
    return np.stack([found.read(page) for page in range(found.count)])


@pytest.mark.parametrize("compress", [False, True])
def test_grey_values_come_back(compress):
    data = saved(GREY, compress=compress)
    assert declared.format_of(data) == "DICOM"
    for opened in (dicom.open_image, dicom.open_labels):
        got = pictures(data, opened)
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got[0, ..., 0], GREY)
    signed = GREY.astype(np.int16) - 2000
    np.testing.assert_array_equal(pictures(saved(signed))[0, ..., 0], signed)
    rgb = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(pictures(saved(rgb, 8, "RGB"))[0], rgb)


def test_where_the_largest_value_is_black_the_picture_is_turned_round():
    got = pictures(saved(GREY, photometric="MONOCHROME1"))
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got[0, ..., 0], 4095 - GREY)
    signed = GREY.astype(np.int16) - 2000
    np.testing.assert_array_equal(
        pictures(saved(signed, photometric="MONOCHROME1"))[0, ..., 0], -1 - signed.astype(int)
    )
    # A mask has the values that are stored.
    np.testing.assert_array_equal(pictures(saved(GREY, photometric="MONOCHROME1"), dicom.open_labels)[0, ..., 0], GREY)


def test_rescaling_is_applied_by_file_and_by_frame():
    got = pictures(saved(GREY, RescaleSlope=2, RescaleIntercept=-1024))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[0, ..., 0], 2.0 * GREY - 1024)
    groups = []
    for slope in (1, 3):
        transformation, group = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 5, "US"
        group.PixelValueTransformationSequence = Sequence([transformation])
        groups.append(group)
    data = saved(np.stack([GREY, GREY]), PerFrameFunctionalGroupsSequence=Sequence(groups))
    np.testing.assert_array_equal(pictures(data)[..., 0], [GREY + 5.0, 3.0 * GREY + 5])


def test_a_rescaled_picture_is_turned_round_between_its_rescaled_ends():
    got = pictures(saved(GREY, photometric="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-1000))
    np.testing.assert_array_equal(got[0, ..., 0], 2.0 * (4095 - GREY) - 1000)


@pytest.mark.parametrize("is_shared", [True, False])
def test_frames_are_ordered_by_their_position(is_shared):
    groups = []
    for place in (20.0, 10.0, 30.0):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, place]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    orientation, shared = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for group in [shared] if is_shared else groups:
        group.PlaneOrientationSequence = Sequence([orientation])
    frames = np.stack([GREY, GREY + 1, GREY + 2])
    placed = saved(
        frames, SharedFunctionalGroupsSequence=Sequence([shared]), PerFrameFunctionalGroupsSequence=Sequence(groups)
    )
    np.testing.assert_array_equal(pictures(placed)[..., 0], frames[[1, 0, 2]])
    np.testing.assert_array_equal(pictures(saved(frames))[..., 0], frames)
    if not is_shared:
        turned = Dataset()
        turned.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
        groups[1].PlaneOrientationSequence = Sequence([turned])
        in_planes = saved(frames, PerFrameFunctionalGroupsSequence=Sequence(groups))
        np.testing.assert_array_equal(pictures(in_planes)[..., 0], frames)


def test_a_palette_gives_colours_in_images_and_indices_in_masks():
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    table = np.arange(3, dtype=np.uint16) * 1000
    more = {}
    for number, name in enumerate(("Red", "Green", "Blue")):
        more[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        more[f"{name}PaletteColorLookupTableData"] = (table + number).tobytes()
    data = saved(indices, 8, "PALETTE COLOR", **more)
    np.testing.assert_array_equal(pictures(data)[0], (table[indices][..., None] + np.arange(3)))
    opened = dicom.open_labels("a.dcm", data, Reading())
    np.testing.assert_array_equal(opened.read(0)[..., 0], indices)
    np.testing.assert_array_equal(opened.colours, (table[:, None] + np.arange(3)) >> 8)
    data = saved(indices, 8, "PALETTE COLOR", **more | {"RedPaletteColorLookupTableDescriptor": [3, 7, 16]})
    with pytest.raises(UserError, match="palette of 3 colours, the first for the value 7"):
        dicom.open_labels("a.dcm", data, Reading())


def test_a_segmentation_is_0_and_1_and_several_segments_are_refused():
    frames = np.stack([np.eye(8, dtype=np.uint8), np.ones((8, 8), np.uint8)])
    about = {"SOPClassUID": dicom.SEGMENTATION, "SegmentationType": "BINARY"}
    data = saved(frames, 1, SegmentSequence=Sequence([Dataset()]), **about)
    np.testing.assert_array_equal(pictures(data, dicom.open_labels)[..., 0], frames)
    two = saved(frames, 1, SegmentSequence=Sequence([Dataset(), Dataset()]), **about)
    with pytest.raises(UserError, match=r"^a\.dcm: is a segmentation of 2 segments"):
        pictures(two, dicom.open_labels)
    fractional = saved(frames, 8, SegmentSequence=Sequence([Dataset()]), **about | {"SegmentationType": "FRACTIONAL"})
    with pytest.raises(UserError, match=r"of 1 segments, type FRACTIONAL"):
        pictures(fractional, dicom.open_labels)


def test_lossy_masks_files_without_pixels_and_missing_decoders_are_refused():
    with pytest.raises(UserError, match="lossy compression"):
        pictures(saved(GREY, LossyImageCompression="01"), dicom.open_labels)
    # Few programs that compress set the flag.
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"):
        dataset = pydicom.dcmread(io.BytesIO(saved(GREY)))
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8nothing\xff\xd9"])
        file = io.BytesIO()
        dataset.save_as(file)
        with pytest.raises(UserError, match=r"^a\.dcm: has lossy compression \(JPEG"):
            dicom.open_labels("a.dcm", file.getvalue(), Reading())
    dataset = pydicom.dcmread(io.BytesIO(saved(GREY)))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8nothing\xff\xd9"])
    file = io.BytesIO()
    dataset.save_as(file)
    with pytest.raises(UserError, match=r"^a\.dcm: its pixels \(JPEG-LS[^\n]*without compression$"):
        pictures(file.getvalue())
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)
    with pytest.raises(UserError, match="holds no pixels"):
        pictures(file.getvalue())


def test_colours_of_a_jpeg_are_rgb_in_an_image_and_refused_in_a_mask():
    y, x = np.mgrid[:32, :32] * 7
    rgb = np.dstack([x, y, 255 - x]).astype(np.uint8)
    full = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    data = saved(full, 8, "YBR_FULL")
    assert np.abs(pictures(data)[0].astype(int) - rgb).max() <= 3
    jpeg, file = io.BytesIO(), io.BytesIO()
    Image.fromarray(rgb).save(jpeg, "JPEG", quality=95, subsampling=0)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    dataset.PixelData = pydicom.encaps.encapsulate([jpeg.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(file)
    assert np.abs(pictures(file.getvalue())[0].astype(int) - rgb).max() <= 12
    with pytest.raises(UserError, match=r"^a\.dcm: has colours of kind YBR_FULL; save the mask as class ids$"):
        pictures(data, dicom.open_labels)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TotalPixelMatrixColumns": 400, "TotalPixelMatrixRows": 300}, "tiles of a slide of 400 x 300 pixels"),
        ({"DoseGridScaling": "0.5"}, "has the table DoseGridScaling, which is not applied"),
        ({"ModalityLUTSequence": Sequence([Dataset()])}, "has the table ModalityLUTSequence"),
    ],
)
def test_values_that_would_be_misread_are_refused(more, says):
    with pytest.raises(UserError, match=rf"^a\.dcm: .*{says}.*save "):
        pictures(saved(GREY, **more))


def test_without_pydicom_the_error_names_the_extra(monkeypatch):
    data = saved(GREY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"^a\.dcm: DICOM is read with pydicom; pip install 'unet-jax\[medical\]'$"):
        pictures(data)
