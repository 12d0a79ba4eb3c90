"""Splits come from the index file, or from a hash that never moves an image to another split."""

import os

import numpy as np
import pytest
from helpers.originals import SPLITS

from unet_jax.configs import default
from unet_jax.data.datasets import splits
from unet_jax.errors import UserError


def test_index_gives_splits_and_groups(folder):
    for id_ in "abc":
        folder.pair(id_)
    folder.write("index.csv", "\ufeffid,split,note,group\na,train,x,1\nb, val,,2\nc,train,,\n")
    dataset = folder.create()
    assert dataset.splits == {"train": 2, "val": 1}
    assert [(e["id"], e["group"]) for e in map(dataset.source("train").__getitem__, range(2))] == [
        ("a", "1"),
        ("c", "c"),
    ]


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ("id,split\na,train\n", "id 'b' "),
        ("id,split\na,train\nb,val\nz,val\n", "id 'z' "),
        ("id,split\na,train\nb,dev\n", "id 'b' .*split 'dev'.*train, val, test"),
        ("id,split\na,train\nb,val\na,val\n", "id 'a' "),
        ("id,split,group\na,train,g\nb,val,g\n", "group 'g' .*train.*'b'.*val"),
        ("id|split\na|train\n", r"'id' .*id\|split"),
        ("", "'id'"),
        ("id,split\na.png,train\nb.png,val\n", "ids 'a.png', 'b.png' have no image, but 'a' is one; .*suffix"),
        ("id,split\nimages/a,train\nb,val\n", "'images/a' .*but 'a' is one; .*folder"),
        ("id,split\nA,train\nb,val\n", "'A' .*but 'a' is one; .*case"),
        ("id,split\n../x,train\na,train\nb,val\n", r"'\.\./x' has no image; .*folder"),
        ("id,split\n/etc/x,train\na,train\nb,val\n", "'/etc/x' has no image; .*folder"),
        ("id,split\na\0,train\na,train\nb,val\n", r"'a\\x00' has no image; "),
        (f"id,split\n{'x' * 9999},train\na,train\nb,val\n", "'x{80}\\.\\.\\.' has no image; "),
        ("id,split\na,train\nb,val,x\n", "line 3 has 3 values, but there are 2 columns; .*quotes"),
        ('id,note,split\na,"1,train\nb,2,val\n', "unexpected end of data"),
        ("name,split\na,train\nb,val\n", "'id' .*name, split"),
        ("id,splits\na,train\nb,val\n", "'splits' .*'split'"),
        ("id,Spilt\na,train\nb,val\n", "'spilt' .*'split'"),
        ("id,split,groups\na,train,g\nb,val,g\n", "'groups' .*'group'"),
        ("id,Set,note\na,Train,x\nb,val,train\n", "column 'set' holds splits.*'split'"),
        ("id,split,Split\na,train,val\nb,val,val\n", "2 .*'split'"),
    ],
)
def test_a_wrong_index_is_named(folder, index, match):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", index)
    folder.raises(rf"index\.csv: .*{match}")


@pytest.mark.parametrize(
    "index",
    [
        "id;split\na;train\nb;val\n",
        "id\tsplit\na\ttrain\nb\tval\n",
        '\ufeff"ID"; "Split"\r\n"a";"train"\r\n\r\n;\r\n"b";"val"\r\n',
        "\n  \nid,split,\na,train,\n,,\nb,val,,,\n\n",
        "id,split\ra,train\rb,val\r",
    ],
)
def test_what_spreadsheets_write_is_read(folder, index):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", index)
    assert folder.create().splits == {"train": 1, "val": 1}


@pytest.mark.parametrize(("id_", "written"), [("001", "1"), ("001", "1.0"), ("plate 07", "Plate 7.tif"), ("0", "000")])
def test_ids_that_a_spreadsheet_has_changed_are_named(tmp_path, id_, written):
    path = tmp_path / "index.csv"
    path.write_text(f"id,split\n{written},train\n")
    with pytest.raises(UserError, match=rf"id '{written}' has no image, but '{id_}' is one; .*zeros"):
        splits.assign([id_], None, index=path)


def test_hashed_splits_are_stable_and_keep_groups_together(tmp_path):
    ids = [f"image{i}" for i in range(3000)]
    fractions = (0.7, 0.2, 0.1)
    some = splits.assign(ids[:50], fractions)
    every = splits.assign(ids, fractions)
    assert {id_: every[id_] for id_ in some} == some
    sizes = [sum(split == name for split, _ in every.values()) / 3000 for name in ("train", "val", "test")]
    np.testing.assert_allclose(sizes, fractions, atol=0.03)
    # Another hash would move users' images to other splits, so these must never change.
    assert [i for i in range(12) if every[f"image{i}"][0] != "train"] == [1, 7]
    index = tmp_path / "index.csv"
    index.write_text("id,group\n" + "".join(f"{id_},{i // 4}\n" for i, id_ in enumerate(ids)))
    grouped = splits.assign(ids, fractions, index=index)
    assert len(set(grouped.values())) == 750
    with pytest.raises(UserError, match=r"split_fractions=\(0\.5, 0\.2, 0\.2\): .*\b1\b"):
        splits.check_fractions((0.5, 0.2, 0.2))


@pytest.mark.parametrize("fractions", [0.5, ("a", 0, 1), (0.5, 0.5), (float("nan"), 0, 1), (-1, 1, 1), None])
def test_bad_fractions_are_named(fractions):
    with pytest.raises(UserError, match=r"split_fractions=.*: .*train, val, test"):
        splits.check_fractions(fractions)


def test_case_and_spaces_of_the_header_do_not_count(folder):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", "ID , Split ,GROUP\na,train,1\nb,val,2\n")
    dataset = folder.create()
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.source("val")[0]["group"] == "2"


def test_a_split_file_chooses_and_says_so(folder, tmp_path, capfd):
    for id_ in "abcd":
        folder.pair(id_)
    # This file is not read if a split file is given.
    folder.write("index.csv", "id,split\nz,train\n")
    path = tmp_path / "splits.csv"
    path.write_text("id,split,group\nd,train,g\nb,val,\n")
    dataset = folder.create(split_file=str(path))
    assert [dataset.source(split)[0]["id"] for split in ("train", "val")] == ["d", "b"]
    assert dataset.source("train")[0]["group"] == "g"
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"{path}: ")
    assert "2 of 4 images" in lines[0]
    path.write_text("id,split\n" + "".join(f"{id_},train\n" for id_ in "abcdvwxyz"))
    folder.raises(r"splits\.csv: .*'v', 'w', 'x' .*\(5 ", split_file=str(path))
    path.write_text("id,split\n")
    folder.raises(r"splits\.csv: ", split_file=str(path))
    folder.raises(
        r"none\.csv: .*data\.split_file .*config\.json",
        split_file=str(tmp_path / "none.csv"),
    )


def test_a_relative_split_file_is_found_in_two_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = default.splits("isbi2012")
    # The path does not depend on the place of this checkout.
    assert name == "configs/splits/isbi2012.csv"
    for shipped in (name, "isbi2012.csv"):
        assert os.path.samefile(splits.find_file(shipped), SPLITS / "isbi2012.csv")
    (tmp_path / "configs/splits").mkdir(parents=True)
    (tmp_path / name).write_text("id,split\na,val\n")
    assert splits.assign("a", None, name) == {"a": ("val", "a")}
    with pytest.raises(UserError, match=rf"configs/splits/x\.csv: .*{tmp_path}.*data\.split_file"):
        splits.find_file("configs/splits/x.csv")
    with pytest.raises(UserError, match=r"x\.csv: .*battery_xray\.csv, dsb2018\.csv, isbi2012\.csv"):
        splits.find_file("x.csv")
    with pytest.raises(ValueError, match=r"'nope' .*battery_xray, dsb2018, isbi2012"):
        default.splits("nope")


def test_known_groups_count_only_where_splits_are_drawn(tmp_path, capfd):
    ids, path = [f"image{i}" for i in range(40)], tmp_path / "splits.csv"
    known = {id_: f"field{i // 4}" for i, id_ in enumerate(ids)}
    fractions = (0.5, 0.25, 0.25)
    drawn = splits.assign(ids, fractions, groups=lambda: known)
    assert {id_: group for id_, (_, group) in drawn.items()} == known
    assert all(split == splits.hash_split(group, fractions) for split, group in drawn.values())
    path.write_text("id,group\n" + "".join(f"{id_},{'x' if i < 2 else ''}\n" for i, id_ in enumerate(ids)))
    groups = [group for _, group in splits.assign(ids, fractions, str(path), groups=lambda: known).values()]
    assert groups == ["x", "x", *[known[id_] for id_ in ids[2:]]]
    path.write_text("id,split\n" + "".join(f"{id_},{'val' if i % 2 else 'train'}\n" for i, id_ in enumerate(ids)))
    assert capfd.readouterr().err == ""
    unneeded = {"groups": lambda: pytest.fail("no group is needed")}
    by_image = splits.assign(ids, fractions, str(path), **unneeded)
    assert by_image["image1"] == ("val", "image1")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ")
    assert "'group'" in line
    path.write_text("id,split,group\n" + "".join(f"{id_},train,{known[id_]}\n" for id_ in ids))
    splits.assign(ids, fractions, str(path), **unneeded)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["isbi2012", "dsb2018", "battery_xray"])
def test_split_files_of_the_configs_are_whole(name):
    path = SPLITS / f"{name}.csv"
    header, *rows = path.read_text().splitlines()
    assert header == "id,split,group"
    assigned = splits.assign([row.split(",")[0] for row in rows], None, str(path))
    counts = {split: sum(given == split for given, _ in assigned.values()) for split in ("train", "val", "test")}
    want = {"isbi2012": (20, 4, 6), "dsb2018": (468, 64, 0), "battery_xray": (51, 10, 0)}[name]
    assert tuple(counts.values()) == want
