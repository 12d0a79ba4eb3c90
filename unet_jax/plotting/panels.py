"""Draws an image, its truth, the prediction and where the two differ, side by side."""

from collections.abc import Sequence

import numpy as np

from unet_jax.plotting.drawing import (
    PANEL_GAP,
    VOID_COLOUR,
    Colour,
    blank,
    draw_masks,
    grey_out,
    legend_strip,
    line_width,
    resize,
    to_display,
)

# The colour of each kind of pixel in the panel "errors".
OUTCOMES = {"right": (0, 190, 110), "extra": (240, 60, 190), "missed": (250, 220, 50), "wrong class": (255, 70, 50)}


def outcome_masks(truth: np.ndarray, masks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns where the prediction agrees with the truth, and where it differs.

    Args:
      truth: bool `[H, W, K]`.
      masks: the prediction, bool `[H, W, K]`.
      valid: bool `[H, W]`; false for void pixels.

    Returns:
      bool `[H, W, 4]`: right, extra, missed and wrong class, as in `OUTCOMES`.
    """
    missed = (truth & ~masks).any(-1) & valid
    extra = (masks & ~truth).any(-1) & valid
    right = (masks & truth).any(-1) & valid & ~missed & ~extra
    return np.stack([right, extra & ~missed, missed & ~extra, missed & extra], -1)


def panels(
    image: np.ndarray,
    truth: np.ndarray,
    masks: np.ndarray,
    valid: np.ndarray,
    names: Sequence[str],
    colours: Sequence[Colour],
    caption: str = "",
) -> np.ndarray:
    """Draws image, truth, prediction and errors with headings, a legend and a caption.

    The panels of wide and of large images stand two by two. Large images are reduced.

    Args:
      image: see `drawing.to_display`.
      truth: bool `[H, W, K]`.
      masks: the prediction, bool `[H, W, K]`.
      valid: bool `[H, W]`; false for void pixels, which are grey in truth and errors.
      names: of the K masks.
      colours: of the K masks.
      caption: a line above the panels; "" for none.

    Returns:
      RGB uint8.
    """
    longest = max(image.shape[:2])
    factor = max(1, round(420 / longest)) if longest <= 840 else 840 / longest
    show = resize(to_display(image), factor)
    truth, masks, valid = (resize(x, factor) for x in (truth, masks, valid))
    line = line_width(factor)
    greyed = grey_out(show, valid)
    outcomes = outcome_masks(truth, masks, valid)
    right, *wrong = OUTCOMES.values()
    errors = draw_masks((0.6 * greyed).astype(np.uint8), outcomes[..., :1], [right], fill=0.3, line=0)
    pictures = {
        "image": show,
        "truth": draw_masks(greyed, truth & valid[..., None], colours, line=line),
        "prediction": draw_masks(show, masks, colours, line=line),
        "errors": draw_masks(errors, outcomes[..., 1:], wrong, fill=0.9, line=0),
    }
    width = show.shape[1]
    tiles = [np.concatenate([legend_strip(width, [(title, None)], 22), tile]) for title, tile in pictures.items()]
    groups = [tiles[:2], tiles[2:]] if width > min(1.3 * show.shape[0], 600) else [tiles]
    rows = [
        np.concatenate([x for tile in group for x in (tile, blank(tile.shape[0], PANEL_GAP))][:-1], axis=1)
        for group in groups
    ]
    legend = [*zip(names, colours, strict=True), *OUTCOMES.items()]
    if not valid.all():
        legend.append(("void", VOID_COLOUR))
    total = rows[0].shape[1]
    body = [x for row in rows for x in (row, blank(PANEL_GAP, total))]
    head = [legend_strip(total, [(caption, None)])] if caption else []
    return np.concatenate([*head, *body, legend_strip(total, legend)])
