"""Which images are tiles of one field of view: found from their pixels, and meant to keep each field in one split.

Two tiles of one size belong together where an edge of one goes on in the opposite edge of the other: each is the other's
best match, the grey values along the two edges correlate by more than `JOIN`, and the step between the edges is no larger
than steps inside the tiles are, within a factor of `STEP`. (The correlation alone joins any two edges that show one
bright object each at the same height.) So do near copies, whose thumbnails correlate by more than `COPY`. Fields are the
connected parts. A wrong join makes a field too large, which costs a little freedom in splitting and leaks nothing; where
a join is missed a field is in parts, and these may come to lie in two splits.
"""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
from scipy.sparse import csgraph

JOIN, STEP, COPY = 0.93, 6.0, 0.98
THUMBNAIL = 32  # px


def find_fields(images: Iterable[tuple[str, np.ndarray]]) -> dict[str, str]:
    """The field of each image by id; a field bears the first, by name, of its ids.

    `images` are pairs of id and pixels `[H, W, C]`, read one at a time.
    """
    by_size = defaultdict(dict)
    for id_, pixels in images:
        grey = pixels.mean(-1, dtype=np.float32)
        by_size[grey.shape][id_] = (*_edges(grey), *_edges(grey.T), _thumbnail(grey))
    fields = {}
    for tiles in by_size.values():
        ids = sorted(tiles)
        first, last, inside, top, bottom, across, thumbnails = (
            np.stack(part) for part in zip(*(tiles[id_] for id_ in ids), strict=True)
        )
        linked = _joins(last, first, inside) | _joins(bottom, top, across) | (_correlation(thumbnails) > COPY)
        _, parts = csgraph.connected_components(linked, directed=False)
        for id_, part in zip(ids, parts, strict=True):
            fields[id_] = ids[np.flatnonzero(parts == part)[0]]
    return fields


def _edges(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """First and last column, and the mean step from them to their neighbours."""
    width = grey.shape[1]
    steps = [np.abs(grey[:, at] - grey[:, next_ % width]).mean() for at, next_ in ((0, 1), (-1, -2))]
    return grey[:, 0], grey[:, -1], np.float32(np.mean(steps))


def _thumbnail(grey: np.ndarray) -> np.ndarray:
    return cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()


def _joins(ends: np.ndarray, starts: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """bool `[N, N]`: tile j goes on where tile i ends; ends and starts are `[N, length]`, inside `[N]`."""
    r = _correlation(ends, starts)
    np.fill_diagonal(r, -1)
    i = np.arange(len(r))
    j = r.argmax(1)
    step = np.abs(ends[i] - starts[j]).mean(1)
    usual = np.maximum((inside[i] + inside[j]) / 2, 0.5)  # half a grey level: flat tiles have steps of rounding alone
    joined = (r.argmax(0)[j] == i) & (r[i, j] > JOIN) & (step <= STEP * usual)
    linked = np.zeros(r.shape, bool)
    linked[i[joined], j[joined]] = True
    return linked


def _correlation(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Pearson's r of every row of `a` with every row of `b` (of `a`); 0 for constant rows."""
    a, b = (_standardised(x) for x in (a, a if b is None else b))
    return a @ b.T


def _standardised(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 1e-3, rows / np.maximum(norm, 1e-3), 0)
