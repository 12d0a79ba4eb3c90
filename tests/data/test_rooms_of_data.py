"""The rooms of data depend on each other one way, and augmentation loads no reader, store or loader."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unet_jax.data

ROOT = Path(unet_jax.data.__file__).parent
# Each room, and the rooms of data that it may import; every room may import the files that lie in data itself.
ALLOWED = {
    "store": set(),
    "loading": {"store"},
    "datasets": {"store"},
    "check": {"datasets"},
    "augment": set(),
}


def imported_rooms(path):
    """The rooms of data that a file imports, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("unet_jax.data"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[2] for name in names if name.startswith("unet_jax.data.")}
    return rooms & set(ALLOWED)


def test_every_room_is_listed():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_those_below_it(room):
    for path in (ROOT / room).rglob("*.py"):
        assert imported_rooms(path) <= ALLOWED[room] | {room}, path


def test_files_of_data_itself_import_no_room():
    for path in ROOT.glob("*.py"):
        # `load` is reached through the module's `__getattr__`.
        allowed = {"datasets"} if path.name == "__init__.py" else set()
        assert imported_rooms(path) == allowed, path


def test_augmentation_and_padding_load_no_heavy_library():
    files = [path.stem for path in (ROOT / "augment").glob("*.py")]
    program = "import sys, importlib\n"
    program += "".join(f"importlib.import_module('unet_jax.data.augment.{name}')\n" for name in files)
    program += "import unet_jax.data.padding\n"
    heavy = ("orbax", "tensorflow_datasets", "grain", "cv2", "skimage", "tensorflow")
    program += f"print([name for name in sys.modules if name.split('.')[0] in {heavy}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
