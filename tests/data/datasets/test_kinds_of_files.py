"""A folder of images and masks of each format is read as docs/reference/files.md says, and so are images to predict."""

import io

import nibabel
import numpy as np
import pytest
from helpers import dicom_files
from helpers.image_folders import GREY, IDS, RNG
from PIL import Image

from unet_jax.data.datasets import image_files, image_sources, listing
from unet_jax.errors import UserError

RGB = RNG.integers(0, 256, (12, 10, 3)).astype(np.uint8)


def by_pillow(format_, **options):
    def write(array):
        file = io.BytesIO()
        Image.fromarray(array).save(file, format_, **options)
        return file.getvalue()

    return write


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(array):
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


def nifti(array, affine=None):
    """Rows are y and columns are x, which comes first in NIfTI."""
    return nibabel.Nifti1Image(array.T, np.eye(4) if affine is None else affine).to_bytes()


def dicom(array):
    return dicom_files.saved(array, 8, "RGB" if array.ndim == 3 else "MONOCHROME2")


# Suffix, what writes it, and what it holds as an image.
KINDS = {
    "npy": (".npy", npy, GREY),
    "npz": (".npz", npz, GREY),
    "gif": (".gif", by_pillow("GIF"), GREY),
    "webp": (".webp", by_pillow("WEBP", lossless=True), RGB),
    "nifti": (".nii", nifti, GREY),
    "dicom": (".dcm", dicom, GREY),
    "dicom in colour": (".dicom", dicom, RGB),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_images_and_masks(folder, kind):
    suffix, write, pixels = KINDS[kind]
    folder.write(f"images/a{suffix}", write(pixels))
    folder.write(f"masks/a{suffix}", write(IDS))
    example = folder.examples()["a"]
    want = pixels if pixels.ndim == 3 else pixels[..., None]
    np.testing.assert_array_equal(example["image"], want)
    np.testing.assert_array_equal(example["mask"], IDS)
    (picture,) = image_sources.open_rows(folder.root / f"images/a{suffix}")
    np.testing.assert_array_equal(picture.rows.read(2, 7), want[2:7])


def test_a_jpeg_2000_is_an_image_and_no_mask(folder):
    write = by_pillow("JPEG2000")
    folder.write("images/a.jp2", write(RGB))
    folder.write("masks/a.png", IDS)
    np.testing.assert_array_equal(folder.examples()["a"]["image"], RGB)
    (folder.root / "masks/a.png").unlink()
    folder.write("masks/a.jp2", write(IDS))
    folder.raises(r"masks/a\.jp2: is a mask of JPEG 2000")


def test_image_and_mask_of_nifti_must_lie_in_one_place(folder):
    folder.write("images/a.nii", nifti(GREY))
    for part in ("masks", "instances"):
        folder.write("masks/a.nii", nifti(IDS))
        folder.write(f"{part}/a.nii", nifti(IDS, np.diag([1.0, -1, 1, 1])))
        folder.raises(rf"{part}/a\.nii: lies elsewhere than its image")
    folder.write("instances/a.nii", nifti(IDS))
    np.testing.assert_array_equal(folder.examples()["a"]["instances"], IDS)


def test_masks_of_many_channels_or_of_16_bit_colours_are_refused(tmp_path):
    """DICOM and NPY have them; colours of 16 bits would be taken for others of 8."""
    path = tmp_path / "a"
    path.write_bytes(dicom_files.saved(RGB.astype(np.uint16) * 99, 16, "RGB"))
    with pytest.raises(UserError, match=r"a: is a mask of 3 channels of type uint16; save it as class ids"):
        image_files.read_labels(path)
    path.write_bytes(npy(np.zeros((4, 5, 2), np.uint8)))
    with pytest.raises(UserError, match=r"a: is a mask of 2 channels of type uint8; save it as class ids"):
        image_files.open_labels(path, image_files.Reading(axes="YXC")).read(0)


def test_every_suffix_that_is_read_has_a_format():
    assert {suffix for suffix, *_ in KINDS.values()} <= set(listing.SUFFIXES)
    assert not set(listing.SUFFIXES) & set(listing.UNREAD_SUFFIXES)
