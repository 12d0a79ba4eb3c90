"""Pages that lead back to themselves, and tags that cannot be read, are named."""

import io
import struct

import numpy as np
import pytest
import tifffile

from unet_jax.data.datasets.formats import tiff, tiff_tags
from unet_jax.data.datasets.reading import Reading

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6)
# Byte order, BigTIFF or not, and where the first page's place and its tags stand.
KINDS = [("<", False), (">", False), ("<", True), (">", True)]


def written(order, big):
    file = io.BytesIO()
    tifffile.imwrite(file, GREY, byteorder=order, bigtiff=big, metadata=None, photometric="minisblack")
    return bytearray(file.getvalue())


def places(data, order, big):
    """Returns the place of the first page, that of the entry of each tag, and that of the place of the next page."""
    (page,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, page)
    first, size = page + (8 if big else 2), 20 if big else 12
    entries = range(first, first + size * count, size)
    return page, {struct.unpack_from(f"{order}H", data, at)[0]: at for at in entries}, first + size * count


@pytest.mark.parametrize(("order", "big"), KINDS)
def test_what_tifffile_would_pass_over_is_an_error(order, big):
    data = written(order, big)
    page, entries, after = places(data, order, big)
    tiff_tags.check(io.BytesIO(data))
    np.testing.assert_array_equal(tiff.open_image("a.tif", bytes(data), Reading()).only("a.tif")[..., 0], GREY)
    offset = order + ("Q" if big else "I")
    edits = [
        (after, offset, page, "back to themselves"),
        (entries[258] + 2, f"{order}H", 99, "BitsPerSample is damaged"),
        (entries[262] + 4, offset, 2**31, "PhotometricInterpretation is damaged"),
        (entries[257] + 4, offset, 0, "ImageLength is damaged"),
        # Of StripOffsets, so that the tag is another one.
        (entries[273], f"{order}H", 284, "PlanarConfiguration is neither 1 nor 2"),
    ]
    for at, form, value, says in edits:
        damaged = bytearray(data)
        struct.pack_into(form, damaged, at, value)
        for read in (tiff.open_image, tiff.open_labels):
            with pytest.raises(ValueError, match=says):
                read("a.tif", bytes(damaged), Reading())


def test_a_page_that_is_cut_off_is_an_error():
    data = written("<", False)
    page, _, _ = places(data, "<", False)
    with pytest.raises(struct.error):
        tiff_tags.check(io.BytesIO(data[: page + 5]))
