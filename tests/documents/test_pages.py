"""README.md and the pages of docs/: every block is run or says why not; links, commands, flags and keys are there."""

import csv
import functools
import importlib
import os
import re
import shlex
import subprocess

import pytest
from helpers import documents
from helpers.documents import COMMANDS, DOCS, NOT_RUN, ROOT, SHOWN

from unet_jax.configs import default
from unet_jax.data.datasets import splits
from unet_jax.programs import commands as programs

PAGES = documents.pages()
BLOCKS = [block for page in PAGES for block in documents.blocks(page)]
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def test_a_block_that_is_not_run_says_why():
    """Every block is run, or its title says that it is not; or its language holds no command."""
    for block in BLOCKS:
        assert block.language in (*COMMANDS, "python", *SHOWN), str(block)
        # The title of the other blocks is the file that they stand in.
        if block.title and not block.title.endswith(".py"):
            assert block.title.startswith(NOT_RUN), str(block)
            assert len(block.title) > len(NOT_RUN) + 5, str(block)
    assert sum(block.is_run for block in BLOCKS) >= 20


def test_shell_can_be_read():
    for block in BLOCKS:
        if block.language in COMMANDS:
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=20)


def commands():
    """(block, command, words) of every command of `unet-jax` in a block."""
    for block in BLOCKS:
        for line in block.text.replace("\\\n", " ").splitlines() if block.language in COMMANDS else ():
            _, name, rest = line.partition("unet-jax ")
            if name:
                # What stands around it: --command="cd ... && unet-jax ...", and & of a shell.
                words = shlex.split(rest.rstrip('"& ') if rest.count('"') % 2 else rest.rstrip("& "), comments=True)
                yield block, words[0], words[1:]


def test_flags_and_configs_exist():
    """Also of the commands that are not run."""
    number = 0
    for block, command, words in commands():
        assert command in [*programs.names(), "--help"], str(block)
        known = (
            {*importlib.import_module(programs.module_name(command)).FLAGS} if command in programs.names() else set()
        )
        config = default.get_config()
        for word in words:
            flag, _, value = word.lstrip("-").partition("=")
            if flag == "config" and not value.endswith(".py"):
                name, _, argument = value.partition(":")
                config = importlib.import_module(f"unet_jax.configs.{name}").get_config(argument)
            if word.startswith("--") and not flag.startswith("config."):
                assert flag in known or flag.removeprefix("no") in {"multiprocess", "compilation_cache"}, (
                    f"{block}: {word}"
                )
            elif word.startswith("--config."):
                functools.reduce(lambda node, key: node[key], flag.split(".")[1:], config)
        number += 1
    assert number >= 40


@functools.cache
def known_keys():
    """Every key of a config, such as "data.patch", whatever network and data set it has."""
    config = default.get_config()
    parts = [("model", default.NETWORKS[name]()) for name in default.NETWORKS]
    parts += [
        ("data", create("")) for create in (default.image_folder, default.isbi2012, default.dsb2018, default.tfds)
    ]
    keys = {"seed"}

    def add(path, node):
        keys.add(path)
        for key in node if hasattr(node, "keys") else ():
            add(f"{path}.{key}", node[key])

    for section, node in [*config.items(), *parts]:
        add(section, node)
    return keys


def test_keys_exist():
    """Each SECTION.KEY in backticks is a key of a config."""
    number = 0
    sections = "|".join(key for key in known_keys() if "." not in key and key != "seed")
    for page in PAGES:
        for key in re.findall(rf"`(?:--config\.)?((?:{sections})\.[a-z_0-9.]+)(?:=[^`]*)?`", page.read_text()):
            if not key.endswith((".py", ".csv", ".png", ".json", ".NAME")):
                assert key in known_keys(), f"{page.name}: {key}"
                number += 1
    assert number >= 60


def anchors(page):
    """The anchors of a page, which a code host and the site both know."""
    slugs = {documents.code_host_slug(heading): documents.site_slug(heading) for heading in documents.headings(page)}
    return {slug for slug, other in slugs.items() if slug == other or not page.is_relative_to(DOCS)}


@pytest.mark.parametrize("page", LINKING, ids=documents.name_of)
def test_links_are_there(page):
    for target in documents.links(page):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not page.is_relative_to(DOCS) or path.is_relative_to(DOCS), f"{target} is no page of the site"
        assert not anchor or anchor in anchors(path), target


def test_slugs():
    assert documents.code_host_slug("What to do: `a_b`, 16 bit") == documents.site_slug("What to do: a_b, 16 bit")
    assert documents.code_host_slug("A - B") != documents.site_slug("A - B")


def test_every_page_is_in_the_navigation():
    assert {page for page in PAGES if page.is_relative_to(DOCS)} == set(DOCS.rglob("*.md"))


def test_every_config_stands_in_the_table():
    rows = re.findall(r"^\| `(\w+)(?::\w+)?` \|", (DOCS / "how-to" / "configs.md").read_text(), flags=re.MULTILINE)
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} <= set(rows)


def test_every_encoder_stands_in_the_table():
    from unet_jax.models.encoders.registry import ENCODERS

    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "how-to" / "encoders.md").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(ENCODERS)


def test_index_is_read_as_the_page_says(tmp_path):
    page = DOCS / "getting-started" / "own-images.md"
    (index,) = [block.text for block in documents.blocks(page) if block.text.startswith("id,")]
    (tmp_path / "index.csv").write_text(index)
    rows = list(csv.DictReader(index.splitlines()))
    assigned = splits.assign([row["id"] for row in rows], (1, 0, 0), index=tmp_path / "index.csv")
    assert list(assigned.values()) == [(row["split"], row["group"]) for row in rows]


def test_continuous_integration_can_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
