"""Does what docs/how-to/add.md says: puts the blocks of the page into the files that they name."""

import ast
import re
from pathlib import Path

_BLOCK = re.compile(r'^```python title="([^"\n]*\.py)"\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)


def file_blocks(page: str) -> list[tuple[str, str]]:
    """Returns (file, content) of each block whose title is a file."""
    return _BLOCK.findall(page)


def section(page: str, heading: str) -> str:
    """Returns the part of a page under a heading of level 2."""
    return re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)[1]


def apply(root: Path, file: str, block: str) -> None:
    """Writes a new file, or merges a block into a file that is there.

    Imports and functions go below the file's last import. The rows of a dict go to the end of the file's dict that is
    assigned to the same name; dicts inside it are merged in the same way.
    """
    path = root / file
    if not path.exists():
        path.write_text(block)
        return
    for node in ast.parse(block).body:
        text = path.read_text()
        if isinstance(node, ast.Assign):
            path.write_text(_merge_rows(text, node, block))
        else:
            lines = text.splitlines(keepends=True)
            last = max(old.end_lineno for old in ast.parse(text).body if isinstance(old, ast.Import | ast.ImportFrom))
            path.write_text("".join([*lines[:last], ast.get_source_segment(block, node), "\n", *lines[last:]]))


def _merge_rows(text: str, node: ast.Assign, block: str) -> str:
    name = ast.unparse(node.targets[0])
    for old in ast.walk(ast.parse(text)):
        targets = old.targets if isinstance(old, ast.Assign) else [getattr(old, "target", None)]
        if isinstance(old, ast.Assign | ast.AnnAssign) and name == ast.unparse(targets[0]):
            end, rows = _new_rows(_dict(old.value), _dict(node.value), block)
            lines = text.splitlines(keepends=True)
            line = lines[end[0] - 1].encode()
            lines[end[0] - 1] = (line[: end[1]] + f", {rows}".encode() + line[end[1] :]).decode()
            return "".join(lines)
    raise AssertionError(f"{name} is not assigned in the file")


def _dict(value: ast.expr) -> ast.Dict:
    """Returns the dict of `{...}` or of `ConfigDict({...})`."""
    return value.args[0] if isinstance(value, ast.Call) else value


def _new_rows(old: ast.Dict, new: ast.Dict, block: str) -> tuple[tuple[int, int], str]:
    """Returns where the last row of the file's dict ends, and the rows to put there."""
    known = {ast.unparse(key): value for key, value in zip(old.keys, old.values, strict=True) if key}
    for key, value in zip(new.keys, new.values, strict=True):
        if ast.unparse(key) in known:
            return _new_rows(_dict(known[ast.unparse(key)]), _dict(value), block)
    rows = ", ".join(
        f"{ast.unparse(key)}: {ast.get_source_segment(block, value)}"
        for key, value in zip(new.keys, new.values, strict=True)
    )
    return (old.values[-1].end_lineno, old.values[-1].end_col_offset), rows
