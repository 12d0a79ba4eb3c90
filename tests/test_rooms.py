"""The rooms of unet_jax: imports point one way, a room's `__init__` imports nothing, and no room is crowded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first. A room may import from rooms in the rows above it here, and from itself.
ROOMS = (
    ("errors", "version", "configs"),
    ("checks",),
    ("segmentation",),
    ("storage",),
    ("runtime",),
    ("plotting",),
    ("data", "models", "checkpoints", "pretrained"),
    ("inference",),
    ("evaluation",),
    ("measurement",),
    ("training",),
    ("tracking",),
    ("experiment",),
    ("runs",),
    ("analysis",),
    ("programs",),
    # `unet_jax.load` and the other public names, which the package itself answers.
    ("__init__", "__main__"),
)

# The rooms inside data/, in the same way. FILES are those of data/ itself.
FILES = "files"
ROOMS_OF_DATA = ((FILES,), ("store", "augment"), ("datasets", "loading"), ("annotations",), ("check",), ("__init__",))

# `augment` runs on the device: it and the other rooms of data/ know nothing of each other.
APART = ({"augment", "datasets"}, {"augment", "loading"}, {"augment", "check"})

MOST_FILES = 20

LIGHT = ("unet_jax.training.losses", "unet_jax.models", "unet_jax.data.augment")
HEAVY = ("orbax", "tensorflow_datasets", "grain", "cv2", "skimage")


def read_sources() -> dict[str, str]:
    """Returns the text of every module of unet_jax by its dotted name; a room is its `__init__`."""
    sources = {}
    for path in sorted((ROOT / "unet_jax").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        sources[name.removesuffix(".__init__")] = path.read_text()
    return sources


SOURCES = read_sources()


def is_room(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def imports_of(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Yields the line and the name of each module of unet_jax that `source` imports, inside functions too.

    `from unet_jax.x import y` is `unet_jax.x.y` where that is a module, else `unet_jax.x`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                parents = [*module.split("."), "__init__"] if is_room(module) else module.split(".")
                package = ".".join(parents[: -node.level] + [part for part in [package] if part])
            modules = [f"{package}.{alias.name}" for alias in node.names]
            names = [name if name in SOURCES else package for name in modules]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "unet_jax")


def room(module: str, depth: int) -> str:
    """Returns the part of a dotted name at `depth`: "__init__" where it ends before, FILES for a file of data/ itself."""
    parts = module.split(".")
    if len(parts) <= depth:
        return "__init__"
    if depth > 1 and len(parts) == depth + 1 and not is_room(module):
        return FILES
    return parts[depth]


def rank(name: str, rooms: tuple[tuple[str, ...], ...]) -> int:
    ranks = [number for number, row in enumerate(rooms) if name in row]
    assert ranks, f"unet_jax/{name} has no rank: add it to tests/test_rooms.py"
    return ranks[0]


def wrong_arrows(module: str, source: str) -> list[str]:
    """Returns each import of a room of the same or a higher rank, as "module:line -> imported module"."""
    wrong = []
    for line, imported in imports_of(module, source):
        ours, theirs = room(module, 1), room(imported, 1)
        rooms = ROOMS
        if ours == theirs == "data":
            ours, theirs = room(module, 2), room(imported, 2)
            rooms = ROOMS_OF_DATA
        if ours == theirs:
            continue
        if {ours, theirs} in APART or rank(theirs, rooms) >= rank(ours, rooms):
            wrong.append(f"{module}:{line} -> {imported}")
    return wrong


def test_imports_point_one_way():
    wrong = [arrow for module, source in SOURCES.items() for arrow in wrong_arrows(module, source)]
    assert not wrong, "\n".join(["imports of a room of the same or a higher rank:", *wrong])


@pytest.mark.parametrize(
    ("module", "source", "imported"),
    [
        ("unet_jax.models.new", "from unet_jax.runs import loop", "unet_jax.runs.loop"),
        ("unet_jax.models.new", "from unet_jax.runs.loop import train", "unet_jax.runs.loop"),
        ("unet_jax.models.new", "def f():\n    import unet_jax.runs.loop as loop", "unet_jax.runs.loop"),
        ("unet_jax.models.new", "from ..runs import loop", "unet_jax.runs.loop"),
        ("unet_jax.models", "def __getattr__(name):\n    from ..runs import loop", "unet_jax.runs.loop"),
        ("unet_jax.models.new", "import unet_jax.data.dataset", "unet_jax.data.dataset"),
        ("unet_jax.models.new", "from unet_jax import load", "unet_jax"),
        ("unet_jax.errors", "from unet_jax import segmentation", "unet_jax.segmentation"),
        (
            "unet_jax.data.store.new",
            "from unet_jax.data.loading import train_pipeline",
            "unet_jax.data.loading.train_pipeline",
        ),
        (
            "unet_jax.data.datasets.new",
            "from unet_jax.data.loading import train_pipeline",
            "unet_jax.data.loading.train_pipeline",
        ),
        ("unet_jax.data.dataset", "from unet_jax.data.store import builder", "unet_jax.data.store.builder"),
        ("unet_jax.data.loading.new", "from unet_jax.data.augment import augment", "unet_jax.data.augment.augment"),
        ("unet_jax.data.augment.new", "from unet_jax.data.store import builder", "unet_jax.data.store.builder"),
        ("unet_jax.data.dataset", "from unet_jax.data import load", "unet_jax.data"),
    ],
)
def test_an_arrow_back_is_found(module, source, imported):
    assert [arrow.partition(" -> ")[2] for arrow in wrong_arrows(module, source)] == [imported]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("unet_jax.models.new", "from unet_jax.models import registry\nimport jax"),
        ("unet_jax.runs.new", "def f():\n    from unet_jax.models import build"),
        ("unet_jax.data.augment.new", "from unet_jax.data import dataset"),
        ("unet_jax.data.check.new", "from unet_jax.data.loading import train_pipeline\nfrom unet_jax import errors"),
    ],
)
def test_an_arrow_down_is_allowed(module, source):
    assert list(imports_of(module, source))
    assert wrong_arrows(module, source) == []


def test_every_folder_is_a_room():
    folders = {path.parent for path in (ROOT / "unet_jax").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def imports_when_loaded(source: str) -> bool:
    nodes = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            if getattr(node, "module", "") != "typing":
                return True
            continue
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not for_types and not isinstance(node, ast.FunctionDef):
            nodes.extend(ast.iter_child_nodes(node))
    return False


def test_a_room_imports_nothing_when_loaded():
    """But names of `typing`; a module `__getattr__` may import inside, and `if TYPE_CHECKING` is for a type checker."""
    assert imports_when_loaded("try:\n    import os\nexcept ImportError:\n    pass")
    assert imports_when_loaded("from typing import Any\nfrom os import path")
    assert not imports_when_loaded("from typing import Any")
    assert not imports_when_loaded("def __getattr__(name):\n    import os")
    assert not imports_when_loaded("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import os")
    assert [module for module, source in SOURCES.items() if is_room(module) and imports_when_loaded(source)] == []


def test_no_room_is_crowded():
    rooms = [path for path in sorted((ROOT / "unet_jax").rglob("*")) if path.is_dir() and path.name != "programs"]
    counts = {str(path.relative_to(ROOT)): len({*path.glob("*.py")} - {path / "__init__.py"}) for path in rooms}
    assert {name: count for name, count in counts.items() if count > MOST_FILES} == {}


def test_networks_losses_and_augmentation_are_light():
    """Every file of them, imported into a fresh process, loads no library of files, data or pictures."""
    modules = [
        module for module in SOURCES if module.startswith(tuple(f"{name}." for name in LIGHT)) or module in LIGHT
    ]
    assert len(modules) > len(LIGHT)
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
