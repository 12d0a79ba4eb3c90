"""Which split an example belongs to: read from `index.csv`, or drawn from a hash of its group."""

import collections
import csv
import difflib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from unet_jax.data.prepare import SPLITS
from unet_jax.errors import UserError, fail

COLUMNS = ("id", "split", "group")  # of the index


def assign(
    ids: Iterable[str], index: Path, fractions: Sequence[float], refuse: Callable[[UserError], None] = fail
) -> dict[str, tuple[str, str]]:
    """(split, group) of each id: from the file `index` if it is there, else by hash; the group defaults to the id.

    `index` is a CSV with a column `id`, and `split` (train, val or test) and `group` where wanted; other columns are
    not read, unless their names look like a misspelt one of these: they are refused. Case and spaces around the names
    do not count. Without `split` the split is a hash of the group. Raises `UserError` also where rows and ids do not
    match, a split has another name, or one group lies in two splits; where `refuse` returns, ids without a row are left
    out, and a split of another name is "".
    """
    ids = list(ids)
    if not index.exists():
        return {id_: (hash_split(id_, fractions), id_) for id_ in ids}
    rows = _read(index, refuse)
    for missing, what in (
        (sorted(set(rows) - set(ids)), "has no image; remove the row or add the image"),
        (sorted(set(ids) - set(rows)), "is an image without a row; add the row or remove the image"),
    ):
        for id_ in missing:
            refuse(UserError(f"{index}: id {id_!r} {what} ({len(missing)} such)"))
    assigned, home = {}, {}
    for id_ in filter(rows.__contains__, ids):
        row = rows[id_]
        group = row.get("group") or id_
        split = row["split"] if "split" in row else hash_split(group, fractions)
        if split not in SPLITS:
            refuse(UserError(f"{index}: id {id_!r} has split {split!r}; use one of {', '.join(SPLITS)}"))
            split = ""
        if home.setdefault(group, split) != split:
            both = f"{home[group]} and, with id {id_!r}, in {split}"
            refuse(UserError(f"{index}: group {group!r} is in {both}; put it into one split"))
        assigned[id_] = (split, group)
    return assigned


def hash_split(group: str, fractions: Sequence[float]) -> str:
    """The split of `group`: a hash gives it a number in [0, 1), the fractions cut that line into train, val and test.

    It depends on the group's name alone, so no image changes sides when others are added.
    """
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    train, val, _ = fractions
    return SPLITS[0] if place < train else SPLITS[1] if place < train + val else SPLITS[2]


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """The fractions of train, val and test, or `UserError`."""
    try:
        numbers = tuple(map(float, fractions))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not min(numbers) >= 0 or not abs(sum(numbers) - 1) <= 1e-6:
        raise UserError(f"split_fractions={fractions!r}: give three fractions (train, val, test) that add up to 1")
    return numbers


def _read(index: Path, refuse: Callable[[UserError], None]) -> dict[str, dict[str, str]]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:  # Excel writes a byte order mark
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            listed = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{index}: cannot be read ({error}); save it as CSV in UTF-8") from error
    if "id" not in columns:
        raise UserError(f"{index}: has no column 'id' (columns: {', '.join(columns)}); the first line must be id,split")
    for column, count in collections.Counter(columns).items():
        if column in COLUMNS and count > 1:
            raise UserError(f"{index}: has {count} columns {column!r}; keep one of them")
        meant = set(difflib.get_close_matches(column, COLUMNS, cutoff=0.75)) - set(columns)
        if meant:
            raise UserError(
                f"{index}: column {column!r} looks like {meant.pop()!r}; rename it to that, or to something else"
            )
    rows = {}
    for row in listed:
        if row["id"] in rows:
            refuse(UserError(f"{index}: id {row['id']!r} has two rows; remove one"))
        rows[row["id"]] = row
    return rows
