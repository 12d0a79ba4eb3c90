"""Finds images that are tiles of one field of view, from their pixels, so that each field stays in one split.

Two tiles of the same size are linked if an edge of one continues in the opposite edge of the other. Three conditions must
hold: each tile is the best match of the other; the grey values along the two edges correlate by more than `JOIN`; the step
between the edges is at most `STEP` times the steps inside the tiles. (The correlation alone would link any two edges that
show one bright object at the same height.) Near copies, whose thumbnails correlate by more than `COPY`, are linked as well.
A field is a connected part of the graph of these links. A wrong link makes a field too large, which leaks nothing. A missed
link cuts a field into parts, which may then lie in two splits.
"""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np

JOIN, STEP, COPY = 0.93, 6.0, 0.98
# Height and width of a thumbnail in pixels.
THUMBNAIL = 32


def find_fields(images: Iterable[tuple[str, np.ndarray]]) -> dict[str, str]:
    """Returns the field of each image by id. A field is named after the first of its ids in sorted order.

    Args:
      images: pairs of id and pixels `[H, W, C]`, read one at a time.
    """
    by_size: dict[tuple[int, ...], dict[str, tuple]] = defaultdict(dict)
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
        # Here, because the check of a config's data set imports this file.
        from scipy.sparse import csgraph

        _, parts = csgraph.connected_components(linked, directed=False)
        for id_, part in zip(ids, parts, strict=True):
            fields[id_] = ids[np.flatnonzero(parts == part)[0]]
    return fields


def _edges(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Returns the first and the last column, and the mean step from them to their neighbours."""
    width = grey.shape[1]
    steps = [np.abs(grey[:, edge] - grey[:, inner % width]).mean() for edge, inner in ((0, 1), (-1, -2))]
    return grey[:, 0], grey[:, -1], np.float32(np.mean(steps))


def _thumbnail(grey: np.ndarray) -> np.ndarray:
    return cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()


def _joins(ends: np.ndarray, starts: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Returns bool `[N, N]`, True where tile j continues tile i; ends and starts are `[N, length]`, inside is `[N]`."""
    r = _correlation(ends, starts)
    np.fill_diagonal(r, -1)
    i = np.arange(len(r))
    j = r.argmax(1)
    step = np.abs(ends[i] - starts[j]).mean(1)
    # At least half a grey level, because the steps inside flat tiles come from rounding only.
    usual = np.maximum((inside[i] + inside[j]) / 2, 0.5)
    joined = (r.argmax(0)[j] == i) & (r[i, j] > JOIN) & (step <= STEP * usual)
    linked = np.zeros(r.shape, bool)
    linked[i[joined], j[joined]] = True
    return linked


def _correlation(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Returns Pearson's r of every row of `a` with every row of `b` (default `a`); 0 for constant rows."""
    a, b = (_standardised(x) for x in (a, a if b is None else b))
    return a @ b.T


def _standardised(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 1e-3, rows / np.maximum(norm, 1e-3), 0)
