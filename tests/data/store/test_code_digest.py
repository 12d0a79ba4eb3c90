"""Comments, docstrings and layout of a source file do not change its digest; the code does. It holds in every Python."""

import pytest

from unet_jax.data.store.code_digest import code_digest

CODE = '''"""A docstring."""
import math  # a comment


class A(object):
    """A docstring."""

    x: int = 1

    async def f(self, a, *b, c=1.0, **d):
        """A docstring."""
        async with a as e:
            return [f"{a!r:>{c}} and {{}}" "more" rf"\\d{b=}" for b in e if b is not None] or {**d, 'a': ...}


def g(x=-1, /):
    match x:
        case {"a": [1, *_], **rest} if (y := rest):
            return y, b"\\xff", 1j, 1e400, "\\u2028\\U0001f600"
        case A(x=1) | None:
            pass
    lambda: (yield)
    try:
        x @= 2
    except* ValueError:
        raise
'''


@pytest.fixture
def digest(tmp_path):
    def digest(*sources):
        for number, source in enumerate(sources):
            (tmp_path / f"{number}.py").write_bytes(source if isinstance(source, bytes) else source.encode())
        return code_digest(tmp_path / f"{number}.py" for number in range(len(sources)))

    return digest


def test_the_same_in_every_python(digest):
    # A change of this number makes every prepared data set stale, and no run resumes.
    assert digest(CODE) == "d27cdc7bd76fd9c0465fddf9ce52b234ab9ed73525e78cfdeee61a491854aaa4"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A docstring."""', '"""Another\n\n    one."""'),
        ("  # a comment", ""),
        ("'a': ...", '"a": (...)'),
        ("\n\n\ndef", "\n\n# a comment\ndef"),
        ("    x: int = 1\n", "    x: int = (\n        1\n    )\n"),
    ],
)
def test_words_and_layout_do_not_count(digest, old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) == digest(CODE)


def test_a_docstring_where_there_was_none_does_not_count(digest):
    assert digest("def f():\n    return 1\n") == digest('def f():\n    "A docstring."\n    return 1\n')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.0", "1"),
        ("-1", "1"),
        ("x: int = 1", "x: int = True"),
        ("is not None", "is None"),
        ('"more"', '"less"'),
        ("!r:>", "!s:>"),
        ("{**d,", "{**c,"),
        ("def g", "def h"),
        ("import math", "import cmath"),
        ("\\xff", "\\xfe"),
        ("            pass\n", "            'no docstring'\n"),
    ],
)
def test_the_code_counts(digest, old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_order_counts_and_any_file_has_a_digest(digest):
    assert digest("a = 1", "b = 1") != digest("b = 1", "a = 1")
    assert digest("a = 1") != digest("a = 1", "")
    assert digest(b"\0\xff") != digest(b"\0\xfe")
    assert digest("def") != digest("class")
