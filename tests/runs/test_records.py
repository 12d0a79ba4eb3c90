"""Damaged config.json and versions.json end in one line that names the file, whoever reads them."""

import json

import pytest
from etils.epath import Path

from unet_jax.analysis.compare.runs import open_runs
from unet_jax.analysis.prune.extract import check_free
from unet_jax.checkpoints import checkpointer as checkpointers
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.finished import Contents
from unet_jax.errors import UserError
from unet_jax.runs import workdir as run_folder
from unet_jax.runs.load import load_predictor
from unet_jax.runs.records import read_versions
from unet_jax.runs.replay import Replay

FACTS = {
    "fingerprint": "a" * 64,
    "class_names": ["background", "anode", "cathode"],
    "channels": 1,
    "dtype": "uint8",
    "overlapping": False,
    "palette": [[0, 0, 0], [255, 0, 0], [0, 0, 255]],
    "splits": {"train": 6, "val": 3, "test": 3},
}


class Data:
    """A data set as `open_workdir` needs it."""

    def __init__(self):
        self.__dict__.update(FACTS)


@pytest.fixture
def workdir(config, tmp_path):
    """Writes the folder of a run with no checkpoint."""
    return run_folder.open_workdir(tmp_path / "run", config, Data(), 6)


READERS = {
    "load": load_predictor,
    "compare": lambda workdir: open_runs([workdir]),
    "replay": Replay.of_run,
}

TORN = {
    "empty": b"",
    "cut off": b'{"data": {"fingerprint": "aa',
    "zeros": bytes(300),
    "no text": b"\xff\xfe{}",
    "a list": b"[]",
    "a number": b"3",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["config.json", "versions.json"])
@pytest.mark.parametrize("content", TORN)
def test_a_torn_file_is_named(workdir, reader, name, content):
    (workdir / name).write_bytes(TORN[content])
    with pytest.raises(UserError, match=rf"{workdir}/{name} .*--workdir$") as caught:
        READERS[reader](workdir)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_in_place_of_a_file_is_named(workdir):
    for name in ("versions.json", "config.json"):
        (workdir / name).unlink()
        (workdir / name).mkdir()
        with pytest.raises(UserError, match=rf"{workdir}/{name} cannot be read"):
            load_predictor(workdir)


WRONG = [
    *[("data", value) for value in (None, [], "x", {})],
    *[("starts", value) for value in (None, {}, [3], [{"start_step": "0"}], [{"start_step": 0, "imports": {"a": 1}}])],
    *[("starts", [{"packages": value}]) for value in (None, [], {"jax": 1})],
    *[
        ("starts", [{"cpu": value}])
        for value in (None, [], {"threads": 2}, {"threads": 0, "model": "", "instructions": []})
    ],
    ("starts", [{"jax_config": []}]),
    *[("data.fingerprint", value) for value in (None, 3, ["a"])],
    *[("data.class_names", value) for value in (None, "abc", [], [1], {"a": 1})],
    *[("data.channels", value) for value in (None, 0, -1, True, "1", 1.0, [1])],
    *[("data.overlapping", value) for value in (None, 0, "no")],
    *[("data.palette", value) for value in (None, 3, [3], [[1, 2]], [[1, 2, "3"]], [[0, 0, 256]], [[0, 0, -1]])],
    *[("data.splits", value) for value in (None, ["train"], {"train": "6"}, {"train": -1}, {"train": None})],
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_fact_of_another_type_is_named(workdir, key, value):
    path = workdir / "versions.json"
    content = json.loads(path.read_text())
    *above, last = key.split(".")
    part = content[above[0]] if above else content
    part[last] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{path}.*\b{key}") as caught:
        read_versions(workdir)
    assert len(str(caught.value)) < 400
    if last != "starts":
        del part[last]
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=rf"{path} has no {key}"):
            read_versions(workdir)


def test_what_another_version_has_in_addition_does_not_matter(workdir):
    path = workdir / "versions.json"
    content = json.loads(path.read_text()) | {"more": 1}
    content["data"] |= {"depth": 16, "dtype": None}
    content["starts"] = [{"start_step": 3, "more": []}]
    path.write_text(json.dumps(content))
    assert read_versions(workdir) == content
    del content["starts"]
    path.write_text(json.dumps(content))
    assert read_versions(workdir)["starts"] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            (section, value)
            for section in ("model", "data", "train", "eval", "optim", "loss")
            for value in (None, 3, [], "x", {})
        ],
        *[("imports", value) for value in (3, [3], {"a": 1}, "x")],
        ("seed", "x"),
        ("more", 1),
        ("a.b", 1),
    ],
)
def test_a_config_of_another_form_is_named(workdir, key, value):
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    content[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{workdir}.*config\.json|{workdir}: imports") as caught:
        load_predictor(workdir)
    assert len(str(caught.value).splitlines()) == 1


def test_a_resumed_run_names_them_and_changes_nothing(workdir, config, monkeypatch):
    monkeypatch.setattr(run_folder, "read_contents", lambda folder: Contents((3,), {}, (), ()))
    for name in ("config.json", "versions.json"):
        before = (workdir / name).read_bytes()
        for content in TORN.values():
            (workdir / name).write_bytes(content)
            with pytest.raises(UserError, match=rf"{workdir}/{name} .*--workdir"):
                run_folder.open_workdir(workdir, config, Data(), 6)
            assert (workdir / name).read_bytes() == content
        (workdir / name).unlink()
        with pytest.raises(UserError, match=rf"{workdir} .*{name}"):
            run_folder.open_workdir(workdir, config, Data(), 6)
        (workdir / name).write_bytes(before)
    run_folder.open_workdir(workdir, config, Data(), 6)


def test_without_a_checkpoint_a_torn_file_is_written_anew(workdir, config):
    for name in ("config.json", "versions.json"):
        before = (workdir / name).read_bytes()
        (workdir / name).write_bytes(b"")
        run_folder.open_workdir(workdir, config, Data(), 6)
        assert (workdir / name).read_bytes() == before


def test_the_parts_of_an_only_checkpoint_are_not_trained_over(workdir, config, monkeypatch):
    monkeypatch.setattr(checkpointers, "_printed", set())
    with Checkpointer(Path(workdir) / "checkpoints") as checkpointer:
        checkpointer.save(3, {"a": FACTS["channels"]})
    (workdir / "checkpoints/3/_CHECKPOINT_METADATA").unlink()
    with pytest.raises(UserError, match=rf"--workdir={workdir}: .*3 \(a part of .*_CHECKPOINT_METADATA.*--workdir"):
        run_folder.open_workdir(workdir, config, Data(), 6)
    # What was never a checkpoint hinders no start.
    (workdir / "checkpoints/3").rename(workdir / "elsewhere")
    (workdir / "checkpoints/999").mkdir()
    assert run_folder.open_workdir(workdir, config, Data(), 6) == workdir


def test_a_torn_file_in_the_way_of_a_pruned_network_is_named(workdir):
    (workdir / "versions.json").write_bytes(b"{")
    with pytest.raises(UserError, match=rf"{workdir}/versions\.json .*--out"):
        check_free(workdir, overwrite=True)
