"""Every public function of the package is annotated, whole: each argument and what it returns."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "unet_jax").rglob("*.py"))


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yields functions and methods that no underscore hides, with `__init__` and `__call__`, by their dotted names."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            if not node.name.startswith("_") or node.name in ("__init__", "__call__"):
                yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{prefix}{node.name}.")


def missing_annotations(source: str) -> list[str]:
    """Returns "line: name(argument)" or "line: name ->" of what a public function lacks."""
    missing = []
    for name, node in public_functions(ast.parse(source).body):
        args = node.args
        named = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        for arg in named:
            if arg.annotation is None and arg.arg not in ("self", "cls"):
                missing.append(f"{node.lineno}: {name}({arg.arg})")
        if node.returns is None and node.name != "__init__":
            missing.append(f"{node.lineno}: {name} ->")
    return missing


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_public_functions_are_annotated(module):
    assert missing_annotations((ROOT / module).read_text()) == []


def test_what_is_missing_is_found():
    source = "class A:\n    def f(self, x: int, *y) -> int: ...\n    def _g(self, x): ...\ndef h(x: int): ...\n"
    assert missing_annotations(source) == ["2: A.f(y)", "4: h ->"]
