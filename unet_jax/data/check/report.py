"""A survey on one page: shares of the classes by split, sizes, grey values."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from unet_jax.data.check.dataset_warnings import only_background
from unet_jax.data.check.survey import Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

MOST_SIZES = 6  # rows of the table of sizes
MOST_ALIKE = 3  # refusals shown of those that one remedy ends


def format_survey(found: Survey) -> str:
    """The tables, for a survey that has seen at least one example."""
    return "\n\n".join([_shares(found), _sizes(found), _pixels(found)])


def shorten(refusals: Sequence[UserError], most: int = MOST_ALIKE) -> list[str]:
    """The refusals as lines; of those with the same remedy, the text behind the last semicolon, only the first few."""
    by_remedy = collections.defaultdict(list)
    for error in map(str, refusals):
        by_remedy[error.rpartition("; ")[2]].append(error)
    lines = []
    for remedy, errors in by_remedy.items():
        lines += errors[:most]
        if len(errors) > most:
            lines.append(f"... and {len(errors) - most} more of this kind; {remedy}")
    return lines


def _shares(found: Survey) -> str:
    """Images, groups and the classes' shares of the pixels that count, by split."""
    columns = [split for split in (*SPLITS, "") if found.of(split)]
    counts = {split: found.counts(split) for split in columns}
    looks = {split: found.of(split) for split in columns}
    rows = [["", *(split or "all" for split in columns)]]
    rows.append(["images", *(str(len(looks[split])) for split in columns)])
    rows.append(["groups", *(str(len({look.row.group for look in looks[split]})) for split in columns)])
    for k, name in enumerate(found.class_names):
        rows.append([f"{k} {name}", *(_share(counts[s][k], counts[s][:VOID_ID].sum()) for s in columns)])
    rows.append(["void, of all pixels", *(_share(counts[s][VOID_ID], counts[s].sum()) for s in columns)])
    rows.append(["only background", *(str(sum(map(only_background, looks[s]))) for s in columns)])
    return _table(rows)


def _sizes(found: Survey) -> str:
    """The commonest sizes, the range of all, and the kinds of pixels."""
    sizes = collections.Counter(look.size for look in found.looks)
    shown = [(size, n) for size, n in sizes.most_common(MOST_SIZES) if n > 1 or len(sizes) <= MOST_SIZES]
    rows = [["height x width", "images"], *([f"{size[0]} x {size[1]}", str(number)] for size, number in shown)]
    if len(shown) < len(sizes):
        rows.append([f"{len(sizes) - len(shown)} others", str(len(found.looks) - sum(number for _, number in shown))])
    heights, widths = zip(*(look.size for look in found.looks), strict=True)
    return f"{_table(rows)}\nheight {_spread(heights)}, width {_spread(widths)}"


def _pixels(found: Survey) -> str:
    kinds = collections.Counter((look.dtype, look.channels) for look in found.looks)
    named = [f"{dtype}, {'grey' if channels == 1 else 'RGB'} ({number})" for (dtype, channels), number in kinds.items()]
    low, high = min(look.low for look in found.looks), max(look.high for look in found.looks)
    levels = _spread([look.levels for look in found.looks])
    return f"pixels {'; '.join(named)}\ngrey values {low}..{high}, but for one pixel in a thousand; levels in an image {levels}"


def _spread(values: Iterable[int]) -> str:
    values = list(values)
    return f"{min(values)}..{max(values)} (median {int(np.median(values))})"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if part else "-"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
