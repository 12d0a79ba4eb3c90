"""What training would accept in a folder, and somebody should know before: one line each, with the remedy."""

from collections.abc import Iterator, Sequence

from unet_jax.data.check.survey import ImageStats, Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.segmentation import VOID_ID

FEW_LEVELS = 256  # grey values in a 16-bit image: no more than 8 bits hold
SMALL_RANGE = 1 / 16  # of 0..65535: what a camera of 12 bits fills
MUCH_VOID = 0.5  # share of all pixels
FEW = 4  # images or pairs named in a line


def find_warnings(found: Survey, window: Sequence[int]) -> list[str]:
    """Everything to be warned of; `window` is the (height, width) of a training window."""
    if not found.looks:
        return []
    parts = (_alike(found), _classes(found), _masks(found), _grey_values(found), _sizes(found, window))
    return [line for part in parts for line in part]


def _alike(found: Survey) -> Iterator[str]:
    if found.alike:
        named = [f"{_named(found.looks[i])} and {_named(found.looks[j])} ({r:.2f})" for i, j, r in found.alike[:FEW]]
        yield (
            f"images in different splits look alike: {_few(named, 'pair', found.num_alike)}; if they show the same thing "
            "the score will be too good: give them one group in index.csv or the split file"
        )


def _classes(found: Survey) -> Iterator[str]:
    everywhere = found.counts()
    for k, name in enumerate(found.class_names):
        lacking = [split for split in SPLITS if found.of(split) and not found.counts(split)[k]]
        if not everywhere[k]:
            yield f"class {name!r} ({k}) is in no mask; correct the masks, class_names or num_classes"
        elif lacking:
            what = "is not learnt" if "train" in lacking else "is not scored there"
            yield f"class {name!r} ({k}) is not in {' and '.join(lacking)}, so it {what}; divide the images otherwise"


def _masks(found: Survey) -> Iterator[str]:
    nothing = [_named(look) for look in found.looks if look.counts[VOID_ID] == look.num_pixels]
    if nothing:
        yield f"masks hold nothing but void: {_few(nothing)}; nothing is learnt from them: correct or remove them"
    empty = [_named(look) for look in found.looks if only_background(look)]
    if empty:
        yield f"masks hold nothing but background: {_few(empty)}; look whether there is nothing to be marked"
    counts = found.counts()
    if counts[VOID_ID] > MUCH_VOID * counts.sum():
        yield (
            f"{counts[VOID_ID] / counts.sum():.0%} of all pixels are void (255) and do not count; if 255 is a class "
            "set mask_values"
        )


def _grey_values(found: Survey) -> Iterator[str]:
    constant = [_named(look) for look in found.looks if look.levels == 1]
    if constant:
        yield f"images hold one grey value alone: {_few(constant)}; look at them"
    sixteen = [look for look in found.looks if look.dtype == "uint16" and look.levels > 1]
    coarse = [look for look in sixteen if look.levels <= FEW_LEVELS and look.num_pixels > 4 * FEW_LEVELS]
    if coarse:
        most = max(look.levels for look in coarse)
        yield (
            f"16-bit images hold no more than {most} grey values each: {_few([_named(look) for look in coarse])}; "
            "they were 8-bit once: look for the originals, or save them as 8-bit"
        )
    if sixteen:
        low, high = min(look.low for look in sixteen), max(look.high for look in sixteen)
        if high - low <= SMALL_RANGE * 65535:
            yield (
                f"16-bit images fill no more than {low}..{high} of 0..65535; keep data.normalize='image' (the default): "
                "with 'range' they would be almost constant"
            )


def _sizes(found: Survey, window: Sequence[int]) -> Iterator[str]:
    small = [_named(look) for look in found.looks if look.size[0] < window[0] or look.size[1] < window[1]]
    if small:
        yield (
            f"images are smaller than a training window of {window[0]} x {window[1]} (height x width): {_few(small)}; "
            "what lies outside is mirrored and does not count: set a smaller data.patch"
        )


def only_background(look: ImageStats) -> bool:
    """Whether its mask has background and no other class."""
    return bool(look.counts[0]) and not look.counts[1:VOID_ID].any()


def _named(look: ImageStats) -> str:
    return f"{look.split}/{look.row.id}" if look.split else look.row.id


def _few(names: Sequence[str], what: str = "image", number: int = 0) -> str:
    """The first names; `number` of all, where `names` are not all."""
    number = number or len(names)
    more = f", ... ({number} {what}s)" if number > FEW else ""
    return ", ".join(names[:FEW]) + more
