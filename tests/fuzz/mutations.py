"""Damages files: bytes of any file, values of JSON by their type, and what stands in the place of a file."""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Mutation(NamedTuple):
    """A damage to one file.

    Attributes:
      name: what was done.
      apply: does it to a path.
      unknowable: True where nobody can know that the content is not the original one, such as another number.
    """

    name: str
    apply: Callable[[Path], None]
    unknowable: bool = False


def truncated(rng: random.Random, content: bytes) -> bytes:
    """Returns the first part of a file, at least a byte shorter."""
    return content[: rng.randrange(max(len(content), 1))]


def flipped(rng: random.Random, content: bytes) -> bytes:
    """Returns a file with one bit changed."""
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def zeroed(rng: random.Random, content: bytes) -> bytes:
    """Returns a file whose end is NUL bytes, as a crash of the machine leaves it."""
    at = rng.randrange(len(content))
    return content[:at] + bytes(len(content) - at)


def _rubbish(rng: random.Random, content: bytes) -> bytes:
    return rng.randbytes(max(len(content), 1))


def _longer(rng: random.Random, content: bytes) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 100))


# By name: (random numbers, content) -> content.
BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "truncated": truncated,
    "a bit flipped": flipped,
    "NUL bytes at the end": zeroed,
    "random bytes": _rubbish,
    "bytes added": _longer,
}


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


# What stands in the place of a file.
PLACES: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": _to_folder,
    "a link to nowhere": _to_nowhere,
    "a link to itself": _to_itself,
    "a named pipe": _to_pipe,
}


def of_bytes(rng: random.Random, path: Path, others: list[Path] = []) -> Mutation:  # noqa: B006
    """Returns a damage to a file of any format.

    Args:
      rng: chooses.
      path: the file.
      others: files that may stand in its place.
    """
    content = path.read_bytes()
    names = [*(BYTES if content else ()), *PLACES, *(["another file"] if others else ())]
    name = rng.choice(names)
    if name in BYTES:
        changed = BYTES[name](rng, content)
        return Mutation(name, lambda at: write(at, changed))
    if name == "another file":
        other = rng.choice(others)
        return Mutation(f"replaced by {other.name}", lambda at: _replace(at, other))
    return Mutation(name, PLACES[name])


def write(path: Path, content: bytes) -> None:
    """Writes a file."""
    path.write_bytes(content)


def _replace(path: Path, other: Path) -> None:
    path.unlink()
    shutil.copyfile(other, path)


# Replacements of a value of JSON. A number is replaced by another number too: that nobody can know.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 7,
    "a negative number": -3,
    "a fraction": 0.37,
    "a huge number": 10**40,
    "1e400": "<<1e400>>",
    "NaN": "<<NaN>>",
    "a string": "text",
    "an empty string": "",
    "a list": [1, "two"],
    "an empty list": [],
    "a dict": {"key": 1},
    "an empty dict": {},
    "50 lists in each other": "<<deep>>",
}
RAW = {'"<<1e400>>"': "1e400", '"<<NaN>>"': "NaN", '"<<deep>>"': "[" * 50 + "]" * 50}


def of_json(rng: random.Random, text: str) -> Mutation:
    """Returns a damage to a JSON text: a value of another type, a key less, more or twice, or a damage to its bytes."""
    tree = json.loads(text)
    indent = 2 if "\n" in text.strip() else None
    ways = ["value"] * 6 + [
        "key removed",
        "key added",
        "key twice",
        "bytes",
        "BOM",
        "not UTF-8",
        "UTF-16",
        "two values",
    ]
    way = rng.choice(ways)
    if way == "bytes":
        name = rng.choice([name for name in BYTES if name != "a bit flipped"])
        changed = BYTES[name](rng, text.encode())
        return Mutation(name, lambda at: write(at, changed), unknowable=parses(changed))
    if way == "BOM":
        return Mutation(way, lambda at: write(at, b"\xef\xbb\xbf" + text.encode()))
    if way == "UTF-16":
        return Mutation(way, lambda at: write(at, text.encode("utf-16")))
    if way == "two values":
        return Mutation(way, lambda at: write(at, (text + text).encode()))
    if way == "not UTF-8":
        at_byte = rng.randrange(len(text))
        return Mutation(way, lambda at: write(at, text.encode()[:at_byte] + b"\xff\xfe" + text.encode()[at_byte:]))
    tree = copy.deepcopy(tree)
    place = rng.choice(_places(tree))
    *parents, last = place or [None]
    node = tree
    for key in parents:
        node = node[key]
    shown = ".".join(map(str, place)) or "(whole)"
    if way == "value" or not isinstance(node, dict) or not place:
        name, value = rng.choice(list(VALUES.items()))
        before = node[last] if place else tree
        if place:
            node[last] = value
        else:
            tree = value
        raw = _dump(tree, indent)
        return Mutation(f"{shown} {_short(before)} -> {name}", _writes(raw), unknowable=same_type(before, value))
    if way == "key removed":
        del node[last]
        return Mutation(f"{shown} removed", _writes(_dump(tree, indent)))
    if way == "key added":
        node["unknown"] = rng.choice([1, None, "x", [1]])
        return Mutation(f"key added next to {shown}", _writes(_dump(tree, indent)))
    # A key that stands twice: the later value is another one.
    name, value = rng.choice(list(VALUES.items()))
    node["<<twice>>"] = value
    raw = _dump(tree, indent).replace('"<<twice>>"', json.dumps(last))
    return Mutation(f"{shown} twice, the second {name}", _writes(raw))


def _writes(text: str) -> Callable[[Path], None]:
    return lambda path: write(path, text.encode())


def _dump(tree: Any, indent: int | None) -> str:
    text = json.dumps(tree, indent=indent)
    for mark, raw in RAW.items():
        text = text.replace(mark, raw)
    return text


def _places(tree: Any, at: tuple = ()) -> list[tuple]:
    """Returns the paths of all values."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(place for key, value in items for place in _places(value, (*at, key)))]


def parses(content: bytes) -> bool:
    """Returns True for JSON."""
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def same_type(before: Any, after: Any) -> bool:
    """Returns True where a value is replaced by another of its type: two numbers, two strings, two lists, two dicts."""
    if isinstance(before, bool) or isinstance(after, bool):
        return isinstance(before, bool) and isinstance(after, bool)
    if isinstance(after, str) and f'"{after}"' in RAW:
        return after == VALUES["50 lists in each other"] and isinstance(before, list)
    both_numbers = all(isinstance(value, int | float) for value in (before, after))
    return both_numbers or type(before) is type(after)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 30 else f"{text[:27]}..."
