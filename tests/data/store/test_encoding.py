"""Images of any number of channels and of floats are stored and read without loss."""

import numpy as np
import pytest

from unet_jax.data.store import encoding
from unet_jax.data.store.builder import Builder, prepare


def pixels(size, channels, dtype):
    """Returns random bits: of floats NaN, Inf, -0 and numbers below the smallest normal one are among them."""
    rng = np.random.default_rng(channels)
    values = rng.integers(0, 256, (*size, channels * np.dtype(dtype).itemsize), dtype=np.uint8).view(dtype)
    if dtype == "float32":
        values.reshape(-1)[:5] = np.nan, np.inf, -np.inf, -0.0, 1e-42
    return values


class Channels(Builder):
    def counts(self):
        return {"train": 3}

    def example(self, split, index):
        image = pixels((5 + index, 8), self.settings["channels"], self.settings["dtype"])
        return {"image": image, "mask": np.zeros(image.shape[:2], np.uint8), "id": f"é{index}", "group": split}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 64])
def test_prepared_images_are_those_given_to_the_bit(tmp_path, monkeypatch, channels, dtype):
    config = {"channels": channels, "dtype": dtype, "overlapping": False, "num_classes": 2}
    source = prepare(Channels, config, "a", str(tmp_path))["train"]
    for index in (2, 0, 1):
        got, want = source[index], pixels((5 + index, 8), channels, dtype)
        assert (got["image"].dtype, got["image"].shape) == (want.dtype, want.shape)
        assert got["image"].tobytes() == want.tobytes()
        assert (got["id"], got["mask"].shape) == (f"é{index}", want.shape[:2])
    # The size is in the header.
    monkeypatch.setattr(encoding, "from_tiff", None)
    assert [source.size(index) for index in range(3)] == [(5, 8), (6, 8), (7, 8)]


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 3)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_thin_images_keep_their_shape(size, channels):
    image = pixels(size, channels, "uint16")
    content = encoding.to_tiff(image)
    assert encoding.size_of(content) == size
    np.testing.assert_array_equal(encoding.from_tiff(content), image)


def test_what_was_stored_as_png_stays_png():
    stored = [(channels, dtype) for channels in (1, 2, 3, 4, 7) for dtype in ("uint8", "uint16", "float32")]
    assert [kind for kind in stored if encoding.is_png(*kind)] == [
        (1, "uint8"),
        (1, "uint16"),
        (3, "uint8"),
        (3, "uint16"),
    ]
