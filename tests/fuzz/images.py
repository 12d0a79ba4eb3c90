"""Damages image and mask files of every format: cuts them off, flips bits, and writes impossible values into their headers.

A file that was cut off, or that declares what it cannot hold, is refused. A flipped bit is refused where the format has a
checksum; elsewhere the file is refused, or decoded to the size that it declares. No file takes more memory than its pixels.

The decoders of other projects run in another process. Where one crashes or hangs, the outcome names the libraries and their
versions alone; neither the file nor the draw that led to it is kept.
"""

import hashlib
import io
import random
import resource
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.fuzz.outcomes import Outcome
from tests.fuzz.worker import CRASH, HANG, REFUSED, RETURNED, Here, Worker, judged

SIZE = (37, 29)
# Address space of a decoder, and how much it may take for one of these small files.
MOST_BYTES, MOST_FOR_ONE = 6 << 30, 256 << 20
LIBRARIES = ("opencv-python-headless", "pillow", "tifffile", "imagecodecs")


class Format(NamedTuple):
    """A whole file of one format.

    Attributes:
      name: of the format, for the table.
      suffix: of the file.
      content: the file.
      masks: True where it can be a mask.
      data: the first and the last byte of what holds the pixels.
      checksum: True where a flipped bit in `data` can be noticed.
    """

    name: str
    suffix: str
    content: bytes
    masks: bool
    data: tuple[int, int]
    checksum: bool


def outcomes(seed: int, count: int, *, apart: bool = True) -> Iterator[Outcome]:
    """Yields the outcome of `count` damages of each format.

    Args:
      seed: of the choice of damages.
      count: how many of each format.
      apart: True decodes in another process, which is started again where a decoder crashes or takes too long.
    """
    with tempfile.TemporaryDirectory() as temporary:
        worker = (
            Worker("tests.fuzz.images", limit_s=10, memory_bytes=MOST_BYTES) if apart else Here("tests.fuzz.images")
        )
        with worker:
            for kind in formats():
                rng = random.Random(f"images {seed} {kind.name}")
                yield from _of_format(rng, worker, Path(temporary), kind, count)


def _of_format(rng: random.Random, worker: Worker | Here, folder: Path, kind: Format, count: int) -> Iterator[Outcome]:
    path = folder / f"a{kind.suffix}"
    path.write_bytes(kind.content)
    doors = ("image", "mask") if kind.masks else ("image",)
    whole = {door: worker.ask({"door": door, "path": str(path)}) for door in doors}
    # Some formats are always refused; no whole file may end otherwise.
    assert all(answer["kind"] in (RETURNED, REFUSED) for answer in whole.values()), (kind.name, whole)
    for number in range(count):
        door, way = doors[number % len(doors)], ("cut off", "header", "flipped")[number // 2 % 3]
        name, content, known = _damage(rng, kind, way)
        path.write_bytes(content)
        answer = worker.ask({"door": door, "path": str(path)})
        row = f"images: {kind.name}"
        if answer["kind"] in (CRASH, HANG):
            versions = ", ".join(f"{library} {_version(library)}" for library in LIBRARIES)
            answer["detail"] += f" of one of {versions}"
            yield judged(row, f"a {door}", answer, lambda value: "")
        else:
            yield judged(row, f"{door}: {name}", answer, _judge(whole[door].get("value"), way, known=known))


def _judge(whole: Any, way: str, *, known: bool) -> Callable[[Any], str]:
    def is_wrong(value: Any) -> str:
        if value["bytes"] > MOST_FOR_ONE:
            return f"takes {value['bytes'] >> 20} MiB"
        pixels = {key: value[key] for key in ("shape", "dtype", "sha256")}
        same = whole and pixels == {key: whole[key] for key in pixels}
        if same or not known:
            return ""
        if way == "flipped" and whole and pixels["shape"] == whole["shape"]:
            return "other pixels, although a checksum tells"
        return f"decoded to {pixels['dtype']}{pixels['shape']}"

    return is_wrong


def _damage(rng: random.Random, kind: Format, way: str) -> tuple[str, bytes, bool]:
    """Returns what was done, the file, and whether a decoder can know that the file is damaged."""
    content = kind.content
    if way == "cut off":
        at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(*kind.data)
        return f"cut off after {at} of {len(content)} bytes", content[:at], True
    if way == "flipped":
        at = rng.randrange(len(content)) if rng.random() < 0.3 else rng.randrange(*kind.data)
        changed = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        return f"a bit of byte {at} flipped", changed, kind.checksum and kind.data[0] <= at < kind.data[1]
    edits = {".png": _png_header, ".jpg": _jpeg_header, ".bmp": _bmp_header, ".tif": _tiff_header}[kind.suffix]
    name, changed = edits(rng, content)
    return name, changed, True


def _png_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    # Place in the file, struct format and impossible values of each field.
    fields = {
        "width": (16, ">I", (0, 60_000, 2**31 - 1, 2**31, 2**32 - 1)),
        "height": (20, ">I", (0, 60_000, 2**31 - 1, 2**31, 2**32 - 1)),
        "both sides": (16, ">Q", (60_000 << 32 | 60_000, 2**64 - 1, 0)),
        "bit depth": (24, ">B", (0, 3, 5, 32, 255)),
        "colour type": (25, ">B", (1, 5, 7, 255)),
        "compression": (26, ">B", (1, 255)),
        "filter": (27, ">B", (1, 255)),
        "interlacing": (28, ">B", (2, 255)),
    }
    name, changed = _edit(rng, content, fields)
    if rng.random() < 0.2:
        # The length of a chunk.
        at, value = rng.choice([8, 33]), rng.choice([0, 2**31 - 1, 2**32 - 1, 12])
        return f"a chunk of {value} bytes", content[:at] + struct.pack(">I", value) + content[at + 4 :]
    return name, changed[:29] + struct.pack(">I", zlib.crc32(changed[12:29])) + changed[33:]


def _edit(rng: random.Random, content: bytes, fields: dict[str, tuple[int, str, tuple[int, ...]]]) -> tuple[str, bytes]:
    name = rng.choice(list(fields))
    at, form, values = fields[name]
    value = rng.choice(values)
    packed = struct.pack(form, value)
    return f"{name} {value}", content[:at] + packed + content[at + len(packed) :]


def _jpeg_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    scan = content.find(b"\xff\xda")
    fields = {
        "length of the frame": (frame + 2, ">H", (0, 1, 3, 65_535)),
        "precision": (frame + 4, ">B", (0, 1, 7, 12, 16, 255)),
        "height": (frame + 5, ">H", (60_000, 65_535, 500)),
        "width": (frame + 7, ">H", (0, 60_000, 65_535)),
        "components": (frame + 9, ">B", (0, 2, 5, 255)),
        "sampling": (frame + 11, ">B", (0, 0x55, 0xFF)),
        "quantisation table": (frame + 12, ">B", (9, 255)),
        "length of the scan": (scan + 2, ">H", (0, 3, 65_535)),
        "components of the scan": (scan + 4, ">B", (0, 5, 255)),
    }
    return _edit(rng, content, fields)


def _bmp_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    fields = {
        "offset of the pixels": (10, "<I", (2**31, 2**32 - 1, len(content), len(content) - 3)),
        "size of the header": (14, "<I", (0, 1, 41, 2**32 - 1)),
        "width": (18, "<i", (0, -5, 60_000, 2**31 - 1)),
        "height": (22, "<i", (0, 60_000, 2**31 - 1, -(2**31))),
        "bits": (28, "<H", (0, 3, 7, 64, 65_535)),
        "compression": (30, "<I", (7, 99, 2**32 - 1)),
        "colours": (46, "<I", (2**31, 2**32 - 1, 5000)),
    }
    if rng.random() < 0.2:
        return "both sides 60000", content[:18] + struct.pack("<ii", 60_000, 60_000) + content[26:]
    return _edit(rng, content, fields)


# Impossible values of the tags of a TIFF: sizes, depths, counts.
TAGS = {
    256: ("width", (0, 60_000, 2**31, 2**32 - 1)),
    257: ("height", (0, 60_000, 2**31, 2**32 - 1)),
    258: ("bits", (0, 3, 7, 255, 65_535)),
    259: ("compression", (0, 999, 65_535)),
    262: ("photometric", (99, 65_535)),
    273: ("offset of the pixels", (0, 2**31, 2**32 - 1)),
    277: ("samples of a pixel", (0, 7, 65_535)),
    278: ("rows of a strip", (0,)),
    279: ("bytes of a strip", (0, 1, 2**31)),
    284: ("planar configuration", (0, 3, 65_535)),
    317: ("predictor", (0, 9, 65_535)),
    322: ("width of a tile", (0, 2**31, 2**32 - 1)),
    323: ("height of a tile", (0, 2**31, 2**32 - 1)),
    324: ("offset of a tile", (0, 2**31)),
    325: ("bytes of a tile", (0, 1, 2**31)),
}


def _tiff_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """Writes an impossible value into the header or a tag of a little-endian TIFF or BigTIFF."""
    big = content[2] == 43
    word, at = ("<Q", 8) if big else ("<I", 4)
    first = struct.unpack_from(word, content, at)[0]
    number = struct.unpack_from("<Q" if big else "<H", content, first)[0]
    begin, size = first + (8 if big else 2), 20 if big else 12
    entries = {struct.unpack_from("<H", content, begin + size * i)[0]: begin + size * i for i in range(number)}
    last = begin + size * number
    ways = ["tag"] * 6 + ["type", "count", "first page", "next page", "number of tags"]
    way = rng.choice(ways)
    changed = bytearray(content)
    if way == "first page":
        value = rng.choice([0, 1, len(content) - 3, len(content), 2**32 - 1])
        struct.pack_into(word, changed, at, value)
    elif way == "next page":
        # A page that follows itself, or lies beyond the end.
        value = rng.choice([first, 2**32 - 1, 3])
        struct.pack_into(word, changed, last, value)
    elif way == "number of tags":
        value = rng.choice([0, 65_535])
        struct.pack_into("<Q" if big else "<H", changed, first, value)
    else:
        tag = rng.choice([tag for tag in entries if tag in TAGS])
        entry, (name, values) = entries[tag], TAGS[tag]
        kind, many = struct.unpack_from("<HQ" if big else "<HI", content, entry + 2)
        if way == "type":
            value, way = 99, f"type of {name}"
            struct.pack_into("<H", changed, entry + 2, value)
        elif way == "count":
            value, way = rng.choice([0, 2**31, 2**32 - 1]), f"count of {name}"
            struct.pack_into(word, changed, entry + 4, value)
        else:
            value, way = rng.choice(values), name
            place, form = entry + (12 if big else 8), {3: "<H", 4: "<I", 16: "<Q"}[kind]
            if many * struct.calcsize(form) > struct.calcsize(word):
                place = struct.unpack_from(word, content, place)[0]
            value = min(value, 2 ** (8 * struct.calcsize(form)) - 1)
            struct.pack_into(form, changed, place, value)
    return f"{way} {value}", bytes(changed)


def formats() -> list[Format]:
    """Returns a small file of each format."""
    import cv2
    import tifffile

    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1]))
    grey = (smooth * 3 + rng.integers(0, 9, SIZE)).astype(np.uint8)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    deep = (grey.astype(np.uint16) * 257).astype(np.uint16)
    ids = rng.integers(0, 4, SIZE).astype(np.uint8)
    indexed = Image.fromarray(ids)
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    png = {
        "PNG 8 bits": _saved(Image.fromarray(grey), "PNG"),
        "PNG 16 bits": _saved(Image.fromarray(deep), "PNG"),
        "PNG colour": _saved(Image.fromarray(colour), "PNG"),
        "PNG palette": _saved(indexed, "PNG"),
        "PNG interlaced": _interlaced(ids),
    }
    found = [Format(name, ".png", content, True, (8, len(content) - 12), True) for name, content in png.items()]
    for name, options in {"JPEG baseline": {}, "JPEG progressive": {"progressive": True}}.items():
        content = _saved(Image.fromarray(colour), "JPEG", quality=90, **options)
        found.append(Format(name, ".jpg", content, False, (content.find(b"\xff\xda") + 14, len(content) - 2), False))
    ours: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "TIFF uncompressed": (grey, {}),
        "TIFF 16 bits": (deep, {}),
        "TIFF LZW": (grey, {"compression": "lzw"}),
        "TIFF deflate": (grey, {"compression": "zlib"}),
        "TIFF predictor": (deep, {"compression": "zlib", "predictor": True}),
        "TIFF tiled": (grey, {"tile": (16, 16), "compression": "zlib"}),
        "TIFF planar": (colour.transpose(2, 0, 1).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
        "BigTIFF": (grey, {"bigtiff": True}),
        "JPEG in TIFF": (
            colour,
            {"photometric": "ycbcr", "compression": "jpeg", "compressionargs": {"level": 90}, "tile": (32, 32)},
        ),
    }
    for name, (array, options) in ours.items():
        whole = io.BytesIO()
        tifffile.imwrite(whole, array, metadata=None, **({"photometric": "minisblack"} | options))
        with tifffile.TiffFile(io.BytesIO(whole.getvalue())) as file:
            page = file.pages[0]
            data = page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1]
        checksum = options.get("compression") == "zlib"
        found.append(Format(name, ".tif", whole.getvalue(), "JPEG" not in name, data, checksum))
    bits = Image.fromarray(ids > 1)
    bmp = {
        "BMP 1 bit": _saved(bits, "BMP"),
        "BMP 4 bits": _bmp4(ids),
        "BMP 8 bits": _saved(indexed, "BMP"),
        "BMP 24 bits": cv2.imencode(".bmp", colour)[1].tobytes(),
        "BMP run lengths": _bmp_rle(ids),
    }
    for name, content in bmp.items():
        found.append(
            Format(name, ".bmp", content, True, (struct.unpack_from("<I", content, 10)[0], len(content)), False)
        )
    return found


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _interlaced(grey: np.ndarray) -> bytes:
    """Returns an 8-bit PNG of seven passes (Adam7), which no library here writes."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in grey[top::down, left::right] if row.size
    )
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _bmp(ids: np.ndarray, bits: int, compression: int, pixels: bytes) -> bytes:
    colours = b"".join(bytes([value * 60] * 3 + [0]) for value in range(4))
    begin = 54 + len(colours)
    height, width = ids.shape
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, 4, 4)
    return b"BM" + struct.pack("<IHHI", begin + len(pixels), 0, 0, begin) + header + colours + pixels


def _bmp4(ids: np.ndarray) -> bytes:
    padded = np.pad(ids, ((0, 0), (0, -ids.shape[1] % 8)))[::-1]
    return _bmp(ids, 4, 0, (padded[:, ::2] << 4 | padded[:, 1::2]).tobytes())


def _bmp_rle(ids: np.ndarray) -> bytes:
    """Returns an 8-bit BMP of run lengths, each of one pixel; every row ends with its mark."""
    rows = (b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in ids[::-1])
    return _bmp(ids, 8, 1, b"".join(rows) + b"\0\1")


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def answer(request: dict[str, str]) -> Any:
    """Reads an image or a mask; returns its shape, type and digest, and the memory that the reading took."""
    from unet_jax.data.datasets import image_files

    read = {"image": image_files.read_image, "mask": image_files.read_labels}[request["door"]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    array = read(request["path"])
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest, "bytes": taken << 10}
