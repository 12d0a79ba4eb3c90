"""Decodes the run lengths of Label Studio's brush, which hold RGBA bytes of an image row by row.

The bytes are one stream of bits, the highest of each byte first:

    32 bits   number of values, here 4 x width x height
    5 bits    size of a value in bits, less 1
    4 x 4 bits  four sizes of a run length in bits, less 1
    then runs:  1 bit      1 if one value is repeated, 0 if each value follows
                2 bits     which of the four sizes
                size bits  length of the run, less 1
                values     one, or as many as the run is long
"""

from collections.abc import Sequence

import numpy as np

from unet_jax.errors import UserError

# A pixel belongs to an object if its value, 0 to 255 with soft edges, is at least this: half and more is covered.
THRESHOLD = 128


def decode_brush(data: Sequence[int], size: tuple[int, int], name: str) -> np.ndarray:
    """Returns the pixels of a brush, bool `[H, W]`: those whose fourth value is at least `THRESHOLD`.

    Args:
      data: the bytes.
      size: height and width of the image.
      name: names the object in errors, with its file.

    Raises:
      UserError: the bytes are not such run lengths, or not of an image of this size.
    """
    try:
        bits = np.unpackbits(np.array(data, np.uint8))
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name}: its rle is not a list of bytes, 0 to 255; export it again") from error
    place = 0

    def read(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise UserError(f"{name}: its rle ends too early, after {len(data)} bytes; export it again")
        place += count
        return int("".join(map(str, bits[place - count : place].tolist())), 2)

    number = read(32)
    if number != 4 * size[0] * size[1]:
        raise UserError(
            f"{name}: its rle holds {number} values, {size[1]} x {size[0]} pixels have {4 * size[0] * size[1]}; give the image"
        )
    width = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.empty(number, np.uint32)
    weights = 1 << np.arange(width, dtype=np.uint64)[::-1]
    start = 0
    while start < number:
        repeated = read(1)
        stop = start + read(sizes[read(2)]) + 1
        if stop > number:
            raise UserError(f"{name}: its rle holds more than {number} values; export it again")
        if repeated:
            values[start:stop] = read(width)
        else:
            length = (stop - start) * width
            if place + length > len(bits):
                raise UserError(f"{name}: its rle ends too early, after {len(data)} bytes; export it again")
            values[start:stop] = bits[place : place + length].reshape(-1, width) @ weights
            place += length
        start = stop
    return values[3::4].reshape(size) >= THRESHOLD
