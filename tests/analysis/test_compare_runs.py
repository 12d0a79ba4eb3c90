"""Runs opened for comparison: their groups, their names, and runs that cannot be compared."""

import json
import shutil

import pytest

from unet_jax.analysis.compare import comparison, runs
from unet_jax.configs import image_folder
from unet_jax.errors import UserError


def test_names_hold_only_what_distinguishes():
    pp = {"model.name": "unet_pp", "model.deep_supervision": True, "data.train_fraction": 1.0, "train.num_steps": 5}
    unet = {"model.name": "unet", "data.train_fraction": 1.0, "train.num_steps": 7}
    one_head = pp | {"model.deep_supervision": False, "train.num_steps": 6}
    assert runs.names([unet, one_head, pp]) == [
        "unet",
        "unet_pp deep_supervision=False",
        "unet_pp deep_supervision=True",
    ]
    assert runs.names([pp, pp | {"data.train_fraction": 0.25}]) == [
        "data.train_fraction=1.0",
        "data.train_fraction=0.25",
    ]
    assert runs.names([unet, pp]) == ["unet", "unet_pp"]
    assert runs.names([pp]) == ["unet_pp"]
    assert runs.names([pp, pp | {"model.encoder": "vgg16"}]) == ["unet_pp", "encoder=vgg16"]
    assert list(runs.differences([unet, one_head])) == ["model.name", "model.deep_supervision", "train.num_steps"]


def test_what_no_result_depends_on_makes_no_group(make):
    dirs = [make("a", seed=0), make("b", seed=1, data__cache_dir="/elsewhere", eval__num_pictures=3)]
    (group,) = runs.groups(runs.open_runs(dirs))
    assert group.name == "unet_pp"
    assert group.seeds == (0, 1)
    assert [run.train_fraction for run in group.runs] == [1.0, 1.0]


def test_other_imported_files_make_a_group(make):
    """The files are compared by their contents, wherever they lie."""
    dirs = [make(name, seed=seed) for name, seed in (("a", 0), ("b", 1), ("c", 0))]
    for workdir, path, digest in zip(
        dirs, ("/x/net.py", "/y/net.py", "/x/net.py"), ("12" * 32, "12" * 32, "34" * 32), strict=True
    ):
        content = json.loads((workdir / "versions.json").read_text()) | {"starts": [{"imports": {path: digest}}]}
        (workdir / "versions.json").write_text(json.dumps(content))
    groups = runs.groups(runs.open_runs(dirs))
    assert [(group.name, group.seeds) for group in groups] == [
        ("imports=121212121212", (0, 1)),
        ("imports=343434343434", (0,)),
    ]


def test_facts_without_a_train_split_are_damaged(make):
    path = make("a") / "versions.json"
    content = json.loads(path.read_text())
    del content["data"]["splits"]["train"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"versions\.json has no data\.splits\.train.*restore"):
        runs.open_runs([path.parent])


def test_where_a_run_ends_makes_a_group(make):
    dirs = [make("short", seed=0, train__patience=1), make("long", seed=1)]
    names = [group.name for group in runs.groups(runs.open_runs(dirs))]
    assert len(names) == 2
    assert any("patience" in name for name in names)


def test_two_folds_are_two_runs_on_other_data(make):
    """Only the file of the split differs, which a resumed run may move."""
    folds = [make(name, fingerprint=print_ * 32) for name, print_ in (("a", "ab"), ("b", "cd"), ("copy", "ab"))]
    for workdir, name in zip(folds, ("folds/0.csv", "folds/1.csv", "moved/0.csv"), strict=True):
        config = json.loads((workdir / "config.json").read_text())
        config["data"] = json.loads(image_folder.get_config("images").to_json())["data"] | {"split_file": name}
        config["eval"]["classes"] = []
        (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"different data .*data\.split_file: 'folds/0\.csv' and 'folds/1\.csv'"):
        runs.open_runs(folds[:2])
    with pytest.raises(UserError, match=r"same run \(same config, data"):
        runs.open_runs([folds[0], folds[2]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"b and .*a .*seed 0"),
        ({"data__cache_dir": "/elsewhere"}, r"b and .*a .*seed 0"),
        ({"seed": 1, "fingerprint": "cd" * 32}, r"a and .*b .*abababababab.*cdcdcdcdcdcd.*files"),
        ({"fingerprint": "cd" * 32, "data__seed": 5}, r"abababababab.*cdcdcdcdcdcd.*data\.seed: 0 .*5"),
        (
            {"seed": 1, "class_names": ("background", "anode", "stack")},
            "classes .*a: background, anode, cathode; .*b: background, anode, stack",
        ),
        ({"eval__classes": ("anode",)}, r"eval\.classes.*a: anode, cathode; .*b: anode"),
    ],
)
def test_runs_that_cannot_be_compared(make, values, message):
    if values.get("class_names"):
        values = values | {"eval__classes": ("anode",)}
    with pytest.raises(UserError, match=message):
        runs.open_runs([make("a"), make("b", **values)])


def test_what_is_no_run(make, tmp_path, capsys):
    with pytest.raises(UserError, match="folder"):
        comparison.compare([])
    with pytest.raises(UserError, match=r"nothing.*config\.json"):
        comparison.compare([tmp_path / "nothing"])
    run = make("a")
    with pytest.raises(UserError, match=r"--splits.*'tset'.*train, val"):
        comparison.compare([run], splits=["val", "tset"])
    with pytest.raises(UserError, match=r"--splits.*'test'.*train, val"):
        comparison.compare([run], splits=["test"])
    with pytest.raises(UserError, match=r"metric 'f1'.*iou, dice"):
        comparison.compare([run], metric="f1")
    runs.open_runs([make("b", train__num_steps=9)])
    assert "6 of 9" in capsys.readouterr().out
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match=r"a.checkpoints .*checkpoint"):
        comparison.compare([run])
