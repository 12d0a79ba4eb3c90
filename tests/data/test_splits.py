"""Splits come from the index as written, or from a hash that never moves an image."""

import numpy as np
import pytest

from unet_jax.data import splits
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
        ("id,split\na,train\n", "index.csv: id 'b' is an image without a row"),
        ("id,split\na,train\nb,val\nz,val\n", "index.csv: id 'z' has no image"),
        ("id,split\na,train\nb,dev\n", "id 'b' has split 'dev'; use one of train, val, test"),
        ("id,split\na,train\nb,val\na,val\n", "id 'a' has two rows"),
        ("id,split,group\na,train,g\nb,val,g\n", "group 'g' is in train and, with id 'b', in val"),
        ("id;split\na;train\n", "has no column 'id' \\(columns: id;split\\)"),
        ("", "has no column 'id'"),
        ("name,split\na,train\nb,val\n", "has no column 'id'"),
        ("id,splits\na,train\nb,val\n", "column 'splits' looks like 'split'; rename it"),
        ("id,Spilt\na,train\nb,val\n", "column 'spilt' looks like 'split'; rename it"),
        ("id,split,groups\na,train,g\nb,val,g\n", "column 'groups' looks like 'group'; rename it"),
        ("id,split,Split\na,train,val\nb,val,val\n", "has 2 columns 'split'; keep one"),
    ],
)
def test_a_wrong_index_is_refused(folder, index, match):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", index)
    folder.refused(match)


def test_hashed_splits_are_stable_and_keep_groups_together(tmp_path):
    ids = [f"image{i}" for i in range(3000)]
    fractions = (0.7, 0.2, 0.1)
    some = splits.assign(ids[:50], tmp_path / "index.csv", fractions)
    every = splits.assign(ids, tmp_path / "index.csv", fractions)
    assert {id_: every[id_] for id_ in some} == some
    shares = [sum(split == name for split, _ in every.values()) / 3000 for name in ("train", "val", "test")]
    np.testing.assert_allclose(shares, fractions, atol=0.03)
    # Another hash would move users' images across their splits: these must never change.
    assert [i for i in range(12) if every[f"image{i}"][0] != "train"] == [1, 7]
    index = tmp_path / "index.csv"
    index.write_text("id,group\n" + "".join(f"{id_},{i // 4}\n" for i, id_ in enumerate(ids)))
    grouped = splits.assign(ids, index, fractions)
    assert len(set(grouped.values())) == 750
    with pytest.raises(UserError, match="add up to 1"):
        splits.check_fractions((0.5, 0.2, 0.2))


@pytest.mark.parametrize("fractions", [0.5, ("a", 0, 1), (0.5, 0.5), (float("nan"), 0, 1), (-1, 1, 1), None])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(UserError, match=r"split_fractions=.*: give three fractions \(train, val, test\)"):
        splits.check_fractions(fractions)


def test_case_and_spaces_of_the_header_do_not_count(folder):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", "ID , Split ,GROUP\na,train,1\nb,val,2\n")
    dataset = folder.create()
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.source("val")[0]["group"] == "2"
