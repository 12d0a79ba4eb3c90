"""The files that an analysis writes: each by the ending of its name, what is no number left empty."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from unet_jax.analysis.results import write_results
from unet_jax.errors import UserError
from unet_jax.plotting.figures import new_figure


def test_each_file_by_the_ending_of_its_name(tmp_path):
    rows = [{"name": "a, b", "iou": np.float32(0.5)}, {"name": "c", "iou": float("nan")}]
    out = tmp_path / "new" / "folder"
    files = {"x.json": {"rows": rows}, "x.csv": rows, "x.png": new_figure(2, 1, dpi=50)}
    assert write_results(out, files) == [out / "x.json", out / "x.csv", out / "x.png"]
    with (out / "x.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "iou"], ["a, b", "0.5"], ["c", ""]]
    assert json.loads((out / "x.json").read_text()) == {
        "rows": [{"name": "a, b", "iou": 0.5}, {"name": "c", "iou": None}]
    }
    with Image.open(out / "x.png") as picture:
        assert picture.size == (100, 50)
    write_results(out, {"x.json": 1})
    assert (out / "x.json").read_text() == "1\n"
    assert sorted(path.name for path in out.iterdir()) == ["x.csv", "x.json", "x.png"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.out"):
        write_results(tmp_path / "file" / "out", {"x.json": 1})
