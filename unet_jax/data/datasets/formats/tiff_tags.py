"""Checks the pages of a TIFF and the tags that say how pixels are stored.

tifffile passes over a tag that it cannot read and takes the default, and follows pages that lead back to themselves for ever.
"""

import struct

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


def check(data: bytes) -> None:
    """Checks every page of a file.

    Args:
      data: the file.

    Raises:
      ValueError: a page leads back to an earlier one, or a tag of `NEEDED` cannot be read.
      struct.error: the file ends within a page.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    # Of BigTIFF, numbers and offsets have 8 bytes.
    offset, number, entry = (
        (f"{order}Q", f"{order}Q", f"{order}HHQ") if big else (f"{order}I", f"{order}H", f"{order}HHI")
    )
    (page,) = struct.unpack_from(offset, data, 8 if big else 4)
    seen: set[int] = set()
    while 0 < page < len(data):
        if page in seen:
            raise ValueError("its pages lead back to themselves")
        seen.add(page)
        (count,) = struct.unpack_from(number, data, page)
        size, first = 20 if big else 12, page + struct.calcsize(number)
        for at in range(first, first + size * count, size):
            tag, kind, values = struct.unpack_from(entry, data, at)
            if tag in NEEDED:
                place = at + struct.calcsize(entry)
                length = SIZES.get(kind, 0) * values
                if length > struct.calcsize(offset):
                    (place,) = struct.unpack_from(offset, data, place)
                if not length or place + length > len(data):
                    raise ValueError(f"its tag {NEEDED[tag]} is damaged")
                if tag == PLANAR and (kind != 3 or struct.unpack_from(f"{order}H", data, place)[0] not in (1, 2)):
                    raise ValueError(f"its tag {NEEDED[tag]} is neither 1 nor 2")
        (page,) = struct.unpack_from(offset, data, first + size * count)
