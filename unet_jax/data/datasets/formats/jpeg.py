"""Decodes JPEG of 8 bits, grey or colour. Masks may not be JPEG: its compression changes ids."""

import re
import struct
from typing import NamedTuple

import numpy as np
import simplejpeg
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.declared import Labels
from unet_jax.errors import UserError

# Second bytes of markers. SOF: C0..CF without DHT, JPG and DAC.
EOI, SOS, APP1, APP2 = 0xD9, 0xDA, 0xE1, 0xE2
SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# With Huffman codes, and with arithmetic codes.
PROGRESSIVE = (0xC2, 0xCA)
# Bytes that an encoder may add to the end of the last scan, and libjpeg's warning of them.
MOST_PADDING = 4
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# The marker that ends the data of a scan: restarts and stuffed bytes are part of them.
_SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class Segment(NamedTuple):
    """Holds a marker, its content, and where its bytes start and end; those of a scan include its data."""

    marker: int
    content: bytes
    start: int
    end: int


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, uint8 `[H, W, 1 or 3]`.

    Raises:
      UserError: the file is refused for what it declares.
      Exception: the file is damaged.
    """
    segments = _segments(data)
    bits, height, width, channels = _frame(segments)
    declared.check_size(path, width, height, channels)
    if bits != 8 or channels not in (1, 3):
        kind = "CMYK" if channels == 4 else f"{channels} channels"
        what = kind if bits == 8 else f"{bits} bits per channel"
        raise UserError(f"{path}: is a JPEG of {what}; save it as 8- or 16-bit grey or RGB, as PNG or TIFF")
    orientations = [_orientation(segment.content) for segment in segments if segment.marker == APP1]
    declared.check_orientation(path, orientations)
    _check_pictures(path, data, segments, width * height)
    return decode(data, channels, segments)


def read_labels(path: str | Path, data: bytes) -> Labels:
    """Raises UserError: a mask may not be a JPEG."""
    raise UserError(f"{path}: is a JPEG, whose compression changes ids; export the mask as PNG")


def decode(data: bytes, channels: int, segments: list[Segment] | None = None) -> np.ndarray:
    """Returns the pixels, uint8 `[H, W, 1 or 3]`.

    libjpeg fills what is missing with grey. With `strict`, what it warns of is an error.

    Args:
      data: the file.
      channels: 1 for grey, 3 for RGB.
      segments: its segments, if they are known.

    Raises:
      ValueError: compressed data are damaged, missing or left over.
    """
    _check_scans(segments or _segments(data))
    colours = "GRAY" if channels == 1 else "RGB"
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, colours, strict=True)
    except ValueError as error:
        padding = _PADDING.search(str(error))
        if not padding or int(padding[1]) > MOST_PADDING:
            raise
        pixels = simplejpeg.decode_jpeg(data, colours, strict=False)
    return pixels


def _check_scans(segments: list[Segment]) -> None:
    """Raises ValueError if scans are missing: libjpeg reads a file that was cut off between two of them, and then ended."""
    kind, frame = next((segment.marker, segment.content) for segment in segments if segment.marker in SOF)
    # By component, how many bits of each of its 64 coefficients are still to come.
    left = {component: [64] * 64 for component in frame[6 : 6 + 3 * frame[5] : 3]}
    for segment in segments:
        if segment.marker == SOS:
            components = segment.content[1 : 1 + 2 * segment.content[0] : 2]
            first, last, bits = segment.content[-3:] if kind in PROGRESSIVE else (0, 63, 0)
            for component in components:
                left[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(map(any, left.values())):
        raise ValueError("its last scans are missing: the file is cut short")


def _segments(data: bytes, start: int = 0) -> list[Segment]:
    """Returns the segments of the JPEG at `start`, up to its end marker."""
    segments: list[Segment] = []
    at = start + 2
    while True:
        # A marker may be preceded by any number of fill bytes.
        while data[at] == data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError("a marker is missing: the file is damaged")
        marker = data[at + 1]
        if marker == EOI:
            return segments
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        content = data[at + 4 : end]
        if marker == SOS:
            match = _SCAN_END.search(data, end)
            if not match:
                raise ValueError("the file is cut short")
            end = match.start()
        segments.append(Segment(marker, content, at, end))
        at = end


def _frame(segments: list[Segment]) -> tuple[int, int, int, int]:
    """Returns bits, height, width and channels."""
    frame = next((segment.content for segment in segments if segment.marker in SOF), b"")
    bits, height, width, channels = struct.unpack_from(">BHHB", frame)
    return bits, height, width, channels


def _orientation(content: bytes) -> int:
    if content.startswith(b"Exif\0"):
        return declared.orientation_in_exif(content[6:])
    return declared.orientation_in_xmp(content) if b"adobe.com/xap" in content[:40] else 1


def _check_pictures(path, data: bytes, segments: list[Segment], pixels: int) -> None:
    """Raises UserError if another picture follows that is no smaller copy: a gain map or a preview is passed over."""
    for segment in segments:
        if segment.marker != APP2 or not segment.content.startswith(b"MPF\0"):
            continue
        base = segment.start + 8
        sizes = [_picture_size(data, base + offset) for offset in _picture_offsets(data[base:])]
        count = 1 + sum(size >= pixels for size in sizes)
        if count > 1:
            raise UserError(f"{path}: holds {count} pictures (multi-picture JPEG); save each as a separate file")


def _picture_offsets(index: bytes) -> list[int]:
    """Returns where the other pictures start, counted from the start of the index (CIPA DC-007)."""
    order = {b"II": "<", b"MM": ">"}.get(index[:2])
    if not order:
        return []
    try:
        (at,) = struct.unpack_from(f"{order}I", index, 4)
        (count,) = struct.unpack_from(f"{order}H", index, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, length, where = struct.unpack_from(f"{order}HHII", index, entry)
            if tag == 0xB002:
                offsets = [struct.unpack_from(f"{order}I", index, where + 16 * i + 8)[0] for i in range(length // 16)]
                return [offset for offset in offsets if offset]
    except struct.error:
        pass
    return []


def _picture_size(data: bytes, start: int) -> int:
    try:
        _, height, width, _ = _frame(_segments(data, start))
    except (ValueError, IndexError, struct.error):
        return 0
    return height * width
