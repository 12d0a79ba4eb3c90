"""Assigns each example to a split: from a file, or from a hash of its group."""

import collections
import csv
import difflib
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from etils.epath import Path

from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError, raise_error
from unet_jax.storage.paths import expand

# Columns of a split file.
COLUMNS = ("id", "split", "group")
# What may separate the values of a line: Excel writes semicolons where the comma is the decimal point.
DELIMITERS = ",;\t"
# How an id that looks like that of an image must be written.
SPELLING = (
    "write the name of the image file without folder and suffix, in the same case and with its leading zeros, which a "
    "spreadsheet drops"
)
# Largest number of characters of an id in a message.
MOST_SHOWN = 80
NONE: Mapping[str, str] = {}
PACKAGE = Path(__file__).absolute().parents[2]


def assign(
    ids: Iterable[str],
    fractions: Sequence[float] | None,
    split_file: str = "",
    *,
    index: Path | None = None,
    groups: Callable[[], Mapping[str, str]] | None = None,
    files: Mapping[str, str] = NONE,
    together: Mapping[str, str] = NONE,
    on_error: Callable[[UserError], None] = raise_error,
) -> dict[str, tuple[str, str]]:
    """Returns (split, group) of each id: from `split_file`, else from `index` if it exists, else by a hash of the group.

    Both files are CSV, separated by commas, semicolons or tabs, with a column `id` and the optional columns `split` (train,
    val or test) and `group`. Case and spaces around these names do not count, and neither does the Unicode form of an id or a
    group. Other columns and empty lines are not read. A column whose name looks like a misspelt one is an error.

    Without a column `split`, a hash of the group chooses the split. The group of an id is its value in the column `group`.
    If there is none and the splits are drawn by hash, it is the group in `groups()`; else it is the id. If `groups` is given
    and the file has splits but no groups, a line on stderr warns.

    Args:
      ids: the ids to assign.
      fractions: fractions of train, val and test; None if a file must give the splits.
      split_file: a file that chooses ids. Ids that it does not name are left out, and a line on stderr counts them.
      index: a file that describes all ids. An id that it does not name is an error.
      groups: returns known groups by id; called only if splits are drawn by hash.
      files: the id of the file, for each id that is one of its pages. A row may name the page, or the file for all its pages.
      together: the group of ids that belong together, such as the pages of a file, where no row gives one.
      on_error: gets an error for a row whose id is unknown or has a row already, for an unknown split, and for a group in
        two splits. If it returns, ids without a valid split are in the split "".

    Raises:
      UserError: the file cannot be used.
    """
    ids = list(ids)
    path = find_file(split_file) if split_file else index
    if path is not None:
        listing.check_file(path)
    has_file = bool(split_file) or (path is not None and path.exists())
    rows = _of_pages(_read(path, on_error), files) if has_file else {}
    chosen = _match(rows, ids, path, bool(split_file), on_error) if has_file else ids
    drawn = not any("split" in row for row in rows.values())
    if drawn and fractions is None:
        raise UserError(f"{path}: has no column 'split'; add it, with {', '.join(SPLITS)}")
    known = groups() if drawn and groups else {}
    if groups and not drawn and not any(row.get("group") for row in rows.values()):
        warning = "has splits and no groups: tiles of one field of view may lie in two splits; add a column 'group'"
        print(f"{path}: {warning}", file=sys.stderr)
    assigned: dict[str, tuple[str, str]] = {}
    split_of_group: dict[str, str] = {}
    for id_ in chosen:
        if has_file and id_ not in rows:
            assigned[id_] = ("", id_)
            continue
        row = rows.get(id_, {})
        group = row.get("group") or known.get(id_) or together.get(id_, id_)
        split = row["split"] if fractions is None or not drawn else hash_split(group, fractions)
        if split not in SPLITS:
            on_error(UserError(f"{path}: id {_shown(id_)} has split {split!r}; use one of {', '.join(SPLITS)}"))
            split = ""
        elif split_of_group.setdefault(group, split) != split:
            both = f"{split_of_group[group]} and, with id {_shown(id_)}, in {split}"
            on_error(UserError(f"{path}: group {group!r} is in {both}; put it into one split"))
        assigned[id_] = (split, group)
    return assigned


def _of_pages(rows: dict[str, dict[str, str]], files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Returns the rows by id, with the row of a file for each of its pages that has none."""
    by_page = {page: rows[file] for page, file in files.items() if file in rows}
    return (
        {id_: row for id_, row in rows.items() if id_ not in set(files.values())}
        | by_page
        | {id_: row for id_, row in rows.items() if id_ in files}
    )


def is_shipped(split_file: str) -> bool:
    """Returns True where `find_file` gives a file that the package ships."""
    shipped = [PACKAGE / split_file, PACKAGE / "configs" / "splits" / split_file]
    return any(path.exists() and path.resolve() == find_file(split_file).resolve() for path in shipped)


def find_file(split_file: str) -> Path:
    """Returns the path of `split_file`.

    A relative path is looked up in the current folder, then among the files that the package ships: there
    `configs/splits/dsb2018.csv` and `dsb2018.csv` are the same file.

    Raises:
      UserError: there is no such file.
    """
    path = expand(split_file, "data.split_file")
    for candidate in (path, PACKAGE / path, PACKAGE / "configs" / "splits" / path):
        listing.check_file(candidate)
        # In a folder that may not be read, `exists` is False and raises nothing.
        if candidate.exists():
            return candidate
    shipped = ", ".join(sorted(file.name for file in (PACKAGE / "configs" / "splits").glob("*.csv")))
    looked = f"neither in {os.getcwd()} nor in {PACKAGE}" if not path.is_absolute() else "not there"
    raise UserError(
        f"{path}: the split file is {looked}; set data.split_file (of a trained run: in its config.json) to where it lies, or "
        f"to a shipped file: {shipped}"
    )


def _match(rows: Mapping[str, dict], ids: list[str], path: Path, subset: bool, on_error) -> list[str]:
    """Returns the ids to assign, in their order: all of them, or with `subset` only those that have a row."""
    missing = sorted(set(rows) - set(ids))
    similar = {_plain(id_): id_ for id_ in ids} if missing else {}
    # Only the first error may be shown, so each names a few ids.
    for start in range(0, len(missing), 3):
        few = missing[start : start + 3]
        subject = f"id {_shown(few[0])} has" if len(few) == 1 else f"ids {', '.join(map(_shown, few))} have"
        likely = [similar[_plain(id_)] for id_ in few if _plain(id_) in similar]
        but = f", but {_shown(likely[0])} is one" if likely else ""
        spelt_wrong = likely or any(re.search(r"[/\\]", id_) for id_ in few)
        remedy = SPELLING if spelt_wrong else "remove the row or add the image"
        on_error(UserError(f"{path}: {subject} no image{but}; {remedy} ({len(missing)} such rows)"))
    left_out = [id_ for id_ in ids if id_ not in rows]
    if left_out and len(left_out) == len(ids):
        on_error(UserError(f"{path}: names no image; add a row for each image to use"))
    elif left_out and subset:
        print(f"{path}: leaves out {len(left_out)} of {len(ids)} images, which it does not name", file=sys.stderr)
    else:
        for id_ in left_out:
            problem = f"is an image without a row; add the row or remove the image ({len(left_out)} such images)"
            on_error(UserError(f"{path}: id {_shown(id_)} {problem}"))
    return [id_ for id_ in ids if id_ in rows] if subset else ids


def _plain(id_: str) -> str:
    """Returns what is left of an id without folder, suffix, leading zeros, and the difference of case and spaces."""
    name = re.split(r"[/\\]", id_)[-1].strip()
    stem, suffix = listing.split_suffix(name)
    known = suffix.lower().endswith((*listing.SUFFIXES, *listing.UNREAD_SUFFIXES, ".nii.gz"))
    # A table of numbers writes 1.0.
    stem = stem if known or re.fullmatch(r"\d+\.0+", name) else name
    return re.sub(r"\s+", " ", re.sub(r"(?<!\d)0+(?=\d)", "", stem.casefold()))


def _shown(id_: str) -> str:
    """Returns an id as a message shows it; a very long one is cut."""
    return repr(id_ if len(id_) <= MOST_SHOWN else f"{id_[:MOST_SHOWN]}...")


def hash_split(group: str, fractions: Sequence[float]) -> str:
    """Returns the split of a group, chosen by a hash of its name.

    The hash gives a number in [0, 1), and the fractions cut this interval into the three splits. The split depends on the
    name alone, so no image changes its split when others are added.

    >>> [hash_split(name, (0.7, 0.15, 0.15)) for name in ("image0", "image1", "image2")]
    ['train', 'val', 'train']

    Args:
      group: name of the group.
      fractions: fractions of train, val and test.
    """
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    train, val, _ = fractions
    return SPLITS[0] if place < train else SPLITS[1] if place < train + val else SPLITS[2]


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Returns the fractions of train, val and test as floats.

    Raises:
      UserError: the fractions are not three numbers of at least 0 that add up to 1.
    """
    try:
        numbers = tuple(map(float, fractions))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not min(numbers) >= 0 or not abs(sum(numbers) - 1) <= 1e-6:
        raise UserError(f"split_fractions={fractions!r}: give three fractions (train, val, test) that add up to 1")
    return numbers


def _read(index: Path, on_error: Callable[[UserError], None]) -> dict[str, dict[str, str]]:
    """Returns the rows by id, each as a dict by column."""
    try:
        # Excel writes a byte order mark.
        text = index.read_bytes().decode("utf-8-sig")
        header = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = next((d for d in DELIMITERS if "id" in [_column(name) for name in header.split(d)]), DELIMITERS[0])
        # With `strict`, a quote that is never closed is an error. Else it would hide the rows below it.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        lines = [(reader.line_num, [listing.normal_form(value.strip()) for value in line]) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{index}: cannot be read ({error}); save it as CSV in UTF-8") from error
    (_, names), *lines = [(number, line) for number, line in lines if any(line)] or [(0, [])]
    columns = [_column(name) for name in names]
    _check_columns(index, columns)
    rows: dict[str, dict[str, str]] = {}
    for number, line in lines:
        if any(line[len(columns) :]):
            problem = f"has {len(line)} values, but there are {len(columns)} columns"
            on_error(UserError(f"{index}: line {number} {problem}; put a value that holds a {delimiter!r} into quotes"))
        row = dict.fromkeys(columns, "") | dict(zip(columns, line, strict=False))
        if row["id"] in rows:
            on_error(UserError(f"{index}: id {_shown(row['id'])} has two rows; remove one"))
        rows[row["id"]] = row
    for column in set(columns) - {*COLUMNS, ""}:
        values = {row[column].lower() for row in rows.values()} - {""}
        if "split" not in columns and values and values <= {*SPLITS, "training", "validation", "valid"}:
            raise UserError(
                f"{index}: column {column!r} holds splits, but is not read; rename it to 'split', or remove it"
            )
    return rows


def _column(name: str) -> str:
    return name.strip().strip('"').strip().lower()


def _check_columns(index: Path, columns: Sequence[str]) -> None:
    """Raises UserError if the column `id` is missing, or a column is there twice or looks misspelt."""
    if "id" not in columns:
        raise UserError(f"{index}: has no column 'id' (columns: {', '.join(columns)}); the first line must be id,split")
    for column, count in collections.Counter(columns).items():
        if column in COLUMNS and count > 1:
            raise UserError(f"{index}: has {count} columns {column!r}; keep one of them")
        similar = set(difflib.get_close_matches(column, COLUMNS, cutoff=0.75)) - set(columns)
        if similar:
            raise UserError(
                f"{index}: column {column!r} looks like {similar.pop()!r}; rename it to that, or to a name that does not"
            )
