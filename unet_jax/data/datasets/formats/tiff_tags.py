"""Checks the pages of a TIFF and the tags that say how pixels are stored.

tifffile passes over a tag that it cannot read and takes the default, and follows pages that lead back to themselves for ever.
"""

import os
import struct
from typing import BinaryIO

# Bytes of a value of each type of TIFF 6.0 and BigTIFF.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
PLANAR = 284
# The tags that decide what the pixels are.
NEEDED = {
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    266: "FillOrder",
    273: "StripOffsets",
    274: "Orientation",
    277: "SamplesPerPixel",
    278: "RowsPerStrip",
    279: "StripByteCounts",
    PLANAR: "PlanarConfiguration",
    317: "Predictor",
    320: "ColorMap",
    322: "TileWidth",
    323: "TileLength",
    324: "TileOffsets",
    325: "TileByteCounts",
    338: "ExtraSamples",
    339: "SampleFormat",
    347: "JPEGTables",
}


def check(file: BinaryIO) -> None:
    """Checks every page of a file.

    Args:
      file: the file.

    Raises:
      ValueError: a page leads back to an earlier one, or a tag of `NEEDED` cannot be read.
      struct.error: the file ends within a page.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    big = _unpack(file, f"{order}H", 2)[0] == 43
    # Of BigTIFF, numbers and offsets have 8 bytes.
    offset, number, entry = (
        (f"{order}Q", f"{order}Q", f"{order}HHQ") if big else (f"{order}I", f"{order}H", f"{order}HHI")
    )
    (page,) = _unpack(file, offset, 8 if big else 4)
    seen: set[int] = set()
    while 0 < page < size:
        if page in seen:
            raise ValueError("its pages lead back to themselves")
        seen.add(page)
        (count,) = _unpack(file, number, page)
        entry_bytes, first = 20 if big else 12, page + struct.calcsize(number)
        for at in range(first, first + entry_bytes * count, entry_bytes):
            tag, kind, values = _unpack(file, entry, at)
            if tag in NEEDED:
                place = at + struct.calcsize(entry)
                length = SIZES.get(kind, 0) * values
                if length > struct.calcsize(offset):
                    (place,) = _unpack(file, offset, place)
                if not length or place + length > size:
                    raise ValueError(f"its tag {NEEDED[tag]} is damaged")
                if tag == PLANAR and (kind != 3 or _unpack(file, f"{order}H", place)[0] not in (1, 2)):
                    raise ValueError(f"its tag {NEEDED[tag]} is neither 1 nor 2")
        (page,) = _unpack(file, offset, first + entry_bytes * count)


def _unpack(file: BinaryIO, form: str, at: int) -> tuple:
    file.seek(at)
    return struct.unpack(form, file.read(struct.calcsize(form)))
