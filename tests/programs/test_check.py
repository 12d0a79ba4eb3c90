"""The program from outside: what it prints and writes, and the status a script sees."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import scene
from PIL import Image

from unet_jax.configs import default
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.errors import UserError
from unet_jax.programs import check as program

ROOT = Path(__file__).parents[2]


@pytest.fixture
def filled(folder):
    """A folder with one warning: val has no class 2."""
    for seed, id_ in enumerate("abc"):
        mask = np.zeros((90, 120), np.uint8)
        mask[20:50, 30:70] = 1
        mask[50:60, 30:70] = 1 + (id_ != "c")
        folder.pair(id_, scene(seed), mask)
    folder.write("index.csv", "id,split\na,train\nb,train\nc,val\n")
    return folder


def check(*arguments):
    command = [sys.executable, "-m", "unet_jax.programs.check", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_folder_with_a_warning(filled, tmp_path):
    out = tmp_path / "new" / "out"
    done = check(filled.root, "--patch=(64, 64)", f"--out={out}", "--class_names=('ground', 'anode', 'cathode')")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == str(filled.root)
    assert sum(line.startswith("warning: class 'cathode' (2) is not in val") for line in lines) == 1
    assert lines[-2] == "0 errors, 1 warning: training can begin"
    assert lines[-1] == f"written: {out / 'sheet.png'}, {out / 'check.json'}"
    assert sorted(path.name for path in out.iterdir()) == ["check.json", "sheet.png"]
    report = json.loads((out / "check.json").read_text())
    assert report["errors"] == report["alike"] == []
    assert report["num_alike"] == 0
    assert [f"warning: {line}" for line in report["warnings"]] == [line for line in lines if line.startswith("warning")]
    with Image.open(out / "sheet.png") as picture:
        assert min(picture.size) > 240


def test_status_and_lines_of_a_folder_with_errors(filled, tmp_path):
    assert check(filled.root, "--patch=(64, 64)", "--strict").returncode == 1
    filled.pair("c", scene(0), np.zeros((90, 120), np.uint8))
    filled.write("images/x.png", b"broken")
    filled.write("images/y.png", b"broken")
    done = check(filled.root, "--strict", f"--out={tmp_path}")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-2].endswith("training would not begin")
    report = json.loads((tmp_path / "check.json").read_text())
    assert done.stderr.splitlines() == [f"error: {line}" for line in report["errors"]]
    # Of each kind: no mask, no row of the index, not an image.
    assert len(report["errors"]) == 6
    ((first, second, correlation),) = report["alike"]
    assert report["num_alike"] == 1
    assert {first, second} == {"a", "c"}
    assert correlation > 0.99
    assert (tmp_path / "alike.png").exists()


def test_out_that_cannot_be_written_hides_nothing(filled, tmp_path):
    (tmp_path / "file").touch()
    command = [filled.root, "--patch=(64, 64)", f"--out={tmp_path / 'file' / 'out'}"]
    done = check(*command)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "0 errors, 1 warning: training can begin"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file' / 'out'}: cannot be written")
    filled.write("images/x.png", b"broken")
    done = check(*command)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].endswith("training would not begin")
    *errors, last = done.stderr.splitlines()
    assert any("images/x.png" in line for line in errors)
    assert last == line


def test_out_among_the_data_is_refused(filled, tmp_path):
    (tmp_path / "link").symlink_to(filled.root / "masks")
    try:
        for out in (filled.root / "images", filled.root / "masks/new", tmp_path / "link"):
            program.FLAGS(["check", f"--out={out}"])
            with pytest.raises(UserError, match=r"--out=\S* lies in \S*/(images|masks), .*another folder"):
                program.main(str(filled.root))
    finally:
        program.FLAGS.unparse_flags()
        program.FLAGS["out"].unparse()


def test_flags_are_the_keys_of_the_config():
    keys = default.image_folder("").to_dict()
    assert set(program.OPTIONS) == set(inspect.signature(load_image_folder).parameters) - {"root", "cache_dir"}
    for name in (*program.OPTIONS, "patch"):
        assert program.FLAGS[name].default == keys[name], name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "FOLDER"),
        (["x", "y"], "'y'"),
        (["x", "--patch=(0, 4)"], "--patch=(0, 4): "),
        (["x", "--mask_values=(0, 0)"], "mask_values holds 0 "),
        (["/no/such/folder"], "/no/such/folder/images: "),
    ],
)
def test_bad_arguments_end_in_a_line(arguments, named):
    done = check(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {named}")
    assert "Traceback" not in done.stderr
