"""Windows that are sure to show foreground, for a share of each batch: rare classes are then seen (as nnU-Net does).

Foreground are the classes from id 1, or channel 1, up; void is none. Of an image the class is drawn first, each that is
present being as likely, then one of its pixels; the window is centred on it as far as the image reaches.
"""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID


def check_fraction(share: float) -> None:
    """Raises UserError unless `share` is one."""
    if not 0 <= share <= 1:
        raise UserError(f"data.foreground_fraction {share} must be at least 0 and at most 1")


def wants_foreground(position: int, share: float) -> bool:
    """Whether the example at `position` of the run is of the share: of n in a row, floor or ceil of n times it are."""
    return math.floor((position + 1) * share) > math.floor(position * share)


def check_any(source) -> None:
    """Raises UserError where no example of `source` shows foreground; the masks up to the first that does are read."""
    if not any(_present(source[index]["mask"]).size for index in range(len(source))):
        raise UserError(
            f"data.foreground_fraction: none of the {len(source)} training images shows another class than class 0; set it "
            "to 0, or mend the masks"
        )


def random_pixel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """(y, x) of a random foreground pixel of ids `[H, W]` or 0/1 masks `[H, W, K]`; None, and no draw, without any."""
    present = _present(mask)
    if not present.size:
        return None
    chosen = int(present[rng.integers(present.size)])
    places = np.flatnonzero(mask[..., chosen] if mask.ndim == 3 else mask == chosen)
    y, x = divmod(int(places[rng.integers(places.size)]), mask.shape[1])
    return y, x


def _present(mask: np.ndarray) -> np.ndarray:
    """The foreground classes of which a mask, as of `random_pixel`, has pixels."""
    pixels = (
        mask.sum((0, 1), dtype=np.int64) if mask.ndim == 3 else np.bincount(mask.ravel(), minlength=VOID_ID)[:VOID_ID]
    )
    return 1 + np.flatnonzero(pixels[1:])


def centred(pixel: Sequence[int], patch: Sequence[int], spare: Sequence[int]) -> list[int]:
    """The start of the window of `patch` pixels around `pixel`; on each axis between 0 and `spare`, the image's size less
    the window's, which is negative where the window is larger."""
    return [
        min(max(at - size // 2, min(room, 0)), max(room, 0)) for at, size, room in zip(pixel, patch, spare, strict=True)
    ]
