"""Run lengths of Label Studio's brush, written bit by bit as their description says."""

import numpy as np
import pytest

from unet_jax.data.annotations.formats.brush import decode_brush
from unet_jax.errors import UserError


def encode(runs, count, width=8, sizes=(3, 5, 9, 16)):
    """Returns the bytes of runs (values, repeated, which size)."""
    text = f"{count:032b}{width - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for values, repeated, which in runs:
        length = repeated or len(values)
        text += f"{int(bool(repeated))}{which:02b}{length - 1:0{sizes[which]}b}" + "".join(
            f"{value:0{width}b}" for value in values
        )
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def test_the_fourth_value_of_each_pixel_counts_from_half():
    pixels = [value for alpha in (0, 127, 128, 255, 1, 200) for value in (255, 255, 255, alpha)]
    mask = decode_brush(encode([(pixels, 0, 1)], 24), (2, 3), "a")
    assert mask.tolist() == [[False, False, True], [True, False, True]]


def test_runs_of_one_value_and_of_many():
    runs = [([0], 4 * 40, 2), ([255, 255, 255, 255], 0, 0), ([0], 4 * 9, 3), ([255], 4 * 2, 0), ([0], 4 * 8, 1)]
    mask = decode_brush(encode(runs, 4 * 60), (6, 10), "a")
    assert np.flatnonzero(mask).tolist() == [40, 50, 51]


def test_values_of_other_sizes():
    mask = decode_brush(encode([([0, 0, 0, 300], 0, 0), ([400], 4, 0)], 8, width=9), (1, 2), "a")
    assert mask.tolist() == [[True, True]]


def test_what_the_tools_own_encoder_writes_is_decoded():
    # By `encode_rle` of label-studio-sdk 2.1.2, of black pixels with the fourth values 0, 127, 128, 255, 255, 255.
    data = [0, 0, 0, 24, 57, 27, 252, 192, 0, 63, 196, 0, 4, 4, 64, 0, 127, 196, 0, 7, 252, 64, 0, 127, 128]
    assert decode_brush(data, (2, 3), "a").tolist() == [[False, False, True], [True, True, True]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "ends too early, after 0 bytes"),
        (encode([([255], 8, 0)], 24)[:-1], "ends too early"),
        (encode([([1] * 8, 0, 0)], 24)[:-2], "ends too early"),
        (encode([([0], 40, 2)], 24), "holds more than 24 values"),
        (encode([], 4), "holds 4 values, 3 x 2 pixels have 24"),
        ([256], "is not a list of bytes"),
        (["a"], "is not a list of bytes"),
    ],
)
def test_faults_are_named(data, message):
    with pytest.raises(UserError, match=f"a: its rle {message}"):
        decode_brush(data, (2, 3), "a")
