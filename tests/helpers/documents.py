"""The documents of the project: their fenced blocks, their headings and their links."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# The title of a block that the suite does not run begins with this, and goes on with the reason.
NOT_RUN = "Not run by the tests: "
COMMANDS = ("sh", "bash")
# Blocks of these languages hold no command.
SHOWN = ("text", "yaml")

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def is_run(self) -> bool:
        """The suite runs it."""
        return self.language in (*COMMANDS, "python") and not self.title

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """README.md, then the pages of the site in the order of its navigation."""
    return [
        ROOT / "README.md",
        *(DOCS / name for name in _leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])),
    ]


def _leaves(nav) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(item)


def name_of(page: Path) -> str:
    """The path of a page in the project."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text()
    result = []
    for match in _FENCE.finditer(text):
        language, info, inside = match.groups()
        title = re.fullmatch(r' title="(.*)"', info.rstrip())
        assert title or not info.strip(), f"{page.name}: ```{language}{info}"
        line = text[: match.start()].count("\n") + 1
        result.append(Block(page, line, language, title[1] if title else "", inside))
    return result


def prose(page: Path) -> str:
    """A page without its fenced blocks and without what stands in backticks."""
    return re.sub(r"`[^`]*`", "", _FENCE.sub("", page.read_text()))


def headings(page: Path) -> list[str]:
    """The headings of a page, as they are shown."""
    lines = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    return [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line).replace("`", "").strip() for line in lines]


def code_host_slug(heading: str) -> str:
    """The anchor that a code host gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def site_slug(heading: str) -> str:
    """The anchor that the site gives a heading."""
    ascii_only = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


def links(page: Path) -> list[str]:
    """Returns the links of a page within the project: FILE, FILE#ANCHOR or #ANCHOR; also those of pictures."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"\w+:", target)]
