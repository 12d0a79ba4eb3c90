"""A prediction that was interrupted goes on, and results of other settings or other files are never mixed."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest
from etils.epath import Path
from helpers.documents import ROOT
from helpers.grey_images import contents, write_grey
from helpers.known_network import NAMES, predictor

from unet_jax.errors import UserError
from unet_jax.inference import folder, inputs, record
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.outputs import Choice

# Predicts argv[1] into argv[2], and kills itself in the middle of the file that is the argv[3]-th written.
KILLED = """
import os, signal, sys
from etils.epath import Path
from helpers.known_network import predictor
from unet_jax.inference.folder import predict_folder

write, left = type(Path("/")).write_bytes, [int(sys.argv[3])]

def write_half(self, content):
    left[0] -= 1
    if not left[0]:
        write(self, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, content)

type(Path("/")).write_bytes = write_half
predict_folder(predictor(), sys.argv[1], sys.argv[2], batch_size=2, recursive=True)
"""


@pytest.fixture
def images(tmp_path):
    """A folder of six images of two sizes, two of them in a subfolder."""
    for number, name in enumerate(("a", "b", "c", "d", "deep/a", "deep/e")):
        write_grey(tmp_path / f"images/{name}.png", (8, 8 if number % 2 else 30), 40 * number)
    return tmp_path / "images"


def predict(images, out, **options):
    return predict_folder(predictor(), images, out, **{"batch_size": 2, "recursive": True} | options)


def test_a_killed_prediction_goes_on_and_leaves_the_files_of_an_undisturbed_one(images, tmp_path):
    # The 11th file is one of the third image; before it, the record is written by another way.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", KILLED, images, tmp_path / "out", "11"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = contents(tmp_path / "out")
    assert len([name for name in left if name.endswith(".png")]) in range(8, 11)
    assert any(name.rpartition("/")[2].startswith(".") for name in left)
    before = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    info = predict(images, tmp_path / "out")
    assert (info["num_images"], info["num_finished"], info["num_there"], info["num_all"]) == (4, 2, 6, 6)
    predict(images, tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == {
        name: content.replace(b"undisturbed:", b"out:").replace(b"undisturbed<", b"out<")
        for name, content in contents(tmp_path / "undisturbed").items()
    }
    # What was finished is not written again.
    kept = [path for path in before if os.stat(path).st_mtime_ns == before[path]]
    assert len(kept) >= 8


def test_an_image_without_one_of_its_files_is_predicted_again(images, tmp_path):
    predict(images, tmp_path / "out")
    whole = contents(tmp_path / "out")
    (tmp_path / "out/masks/anode/deep/e.png").unlink()
    (tmp_path / "out/index.html").unlink()
    assert predict(images, tmp_path / "out")["num_images"] == 1
    assert contents(tmp_path / "out") == whole
    assert predict(images, tmp_path / "out")["num_images"] == 0


def test_a_batch_has_the_same_images_whatever_is_finished(images, tmp_path, monkeypatch):
    """So the network computes the same numbers, whose last digit may depend on the batch."""
    batches = []
    for name in ("a", "b", "c", "d"):
        write_grey(images / f"more/{name}.png", (8, 8), 1)
    network = predictor()
    run = network.predict_masks
    monkeypatch.setattr(
        network, "predict_masks", lambda *given: batches.append([x[0, 0, 0] for x in given[0]]) or run(*given)
    )
    predict_folder(network, images, tmp_path / "out", batch_size=2, recursive=True)
    assert len(batches) == 6
    whole, batches[:] = list(batches), []
    for name in ("ids/deep/e.png", "overlays/d.png"):
        (tmp_path / "out" / name).unlink()
    predict_folder(network, images, tmp_path / "out", batch_size=2, recursive=True)
    assert 0 < len(batches) < 6
    assert all(batch in whole for batch in batches)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "fast"}, "mode 'accurate', not 'fast'"),
        ({"variables": {"params": {"a": 1.0}}}, "other weights"),
        ({"normalize": "image"}, "normalize 'range', not 'image'"),
        ({"class_names": ("ground", *NAMES[1:])}, "class_names"),
    ],
)
def test_results_of_another_network_are_not_mixed(images, tmp_path, change, words):
    out, other = tmp_path / "out", dataclasses.replace(predictor(), **change)
    predict(images, out)
    (out / "ids/a.png").unlink()
    before = contents(out)
    with pytest.raises(UserError, match=rf"--out=\S*out holds results that were made with .*{words}.*--overwrite"):
        predict_folder(other, images, out, recursive=True)
    # Not for other images either.
    write_grey(tmp_path / "new/z.png")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"holds results that were made .*write to another folder"):
            predict_folder(other, tmp_path / "new/z.png", out, overwrite=overwrite)
    assert contents(out) == before
    assert predict_folder(other, images, out, recursive=True, overwrite=True)["num_images"] == 6
    with pytest.raises(UserError, match="holds results"):
        predict(images, out)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"choice": Choice(("overlays",))}, "save"),
        ({"choice": Choice(("ids",))}, "save"),
        ({"about": {"step": 8}}, "step"),
    ],
)
def test_results_of_other_options_are_not_mixed(images, tmp_path, change, word):
    predict(images, tmp_path / "out", about={"step": 4})
    with pytest.raises(UserError, match=f"with {word} .*, not"):
        predict(images, tmp_path / "out", **{"about": {"step": 4}} | change)
    # Where the first command has written nothing yet, the second may begin.
    for path in (tmp_path / "out").rglob("*.png"):
        path.unlink()
    predict(images, tmp_path / "out", **{"about": {"step": 4}} | change)


def test_all_results_of_an_image_are_replaced(images, tmp_path):
    predict(
        images,
        tmp_path / "out",
        choice=Choice(
            (
                "ids",
                "overlays",
            )
        ),
    )
    predict(images, tmp_path / "out", choice=Choice(("masks",)), overwrite=True)
    assert not list((tmp_path / "out").glob("*/*.png"))
    assert len(list((tmp_path / "out").glob("masks/anode/*.png"))) == 4


def test_results_of_another_file_are_not_taken(images, tmp_path):
    out = tmp_path / "out"
    predict(images, out)
    write_grey(images / "a.png", (8, 30), 7)
    with pytest.raises(UserError, match=r"ids/a\.png was not made from \S*images/a\.png as it is now.*--overwrite"):
        predict(images, out)
    assert predict(images, out, overwrite=True)["num_images"] == 6
    # Nor is a file of the same name, size and time elsewhere.
    write_grey(tmp_path / "other/a.png", (8, 30), 7)
    os.utime(tmp_path / "other/a.png", ns=(0, os.stat(images / "a.png").st_mtime_ns))
    with pytest.raises(UserError, match=r"was not made from \S*other/a\.png"):
        predict(tmp_path / "other/a.png", out)
    # A result that no record knows is not taken either.
    write_grey(tmp_path / "other/z.png")
    write_grey(out / "ids/z.png")
    with pytest.raises(UserError, match=r"ids/z\.png was not made from"):
        predict(tmp_path / "other/z.png", out)
    (out / record.NAME).unlink()
    with pytest.raises(UserError, match=r"ids/z\.png exists, and no prediction\.json says how .*--overwrite"):
        predict(tmp_path / "other/z.png", out)
    (out / record.NAME).write_text("{")
    with pytest.raises(UserError, match=r"out/prediction\.json is empty, cut off or no JSON"):
        predict(images, out)


def test_more_images_may_come_to_a_folder(images, tmp_path):
    predict(images, tmp_path / "out")
    write_grey(tmp_path / "z.png")
    assert predict(tmp_path / "z.png", tmp_path / "out")["num_images"] == 1
    assert (tmp_path / "out/index.html").read_text().count("<img") == 7
    # The record still knows the first ones.
    assert predict(images, tmp_path / "out")["num_finished"] == 6


def test_results_that_are_replaced_are_removed_first(images, tmp_path, monkeypatch):
    """So an interrupted replacement does not leave old results that look finished."""
    out = tmp_path / "out"
    predict(images, out)

    def interrupted(self, name, *_):
        if name == "a":
            raise KeyboardInterrupt
        return write(self, name, *_)

    write = folder.MaskFolder.write
    with monkeypatch.context() as patch:
        patch.setattr(folder.MaskFolder, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(images, out, overwrite=True, about={"step": 4})
    assert predict(images, out, about={"step": 4})["num_images"] >= 4


def test_a_full_disk_leaves_whole_files_and_the_command_goes_on(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write, left = type(Path("/")).write_bytes, [10]

    def full(self, content):
        left[0] -= 1
        if left[0] < 0:
            write(self, content[:10])
            raise OSError(28, "No space left on device")
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(type(Path("/")), "write_bytes", full)
        with pytest.raises(UserError, match=r"\.png: cannot be written \(No space left on device\); .*free some space"):
            predict(images, out)
    some = contents(out)
    # The first of the ten files is the record.
    assert len([name for name in some if name.endswith(".png")]) == 9
    predict(images, out)
    whole = contents(out)
    assert {name: whole[name] for name in some} == some
    predict(images, tmp_path / "undisturbed/out")
    assert contents(tmp_path / "undisturbed/out") == whole


def test_a_file_that_changes_while_it_is_predicted_is_refused(images, tmp_path, monkeypatch):
    changed = [images / "deep/e.png", images / "a.png"]
    open_pictures = inputs.image_files.open_pictures
    reads = []

    def changing(path, how):
        opened = open_pictures(path, how)
        reads.append(str(path))
        # The second time is that of the prediction; the first looks for files that are cut short.
        if reads.count(str(path)) == 2 and str(path) == str(changed[0]):
            with open(path, "ab") as file:
                file.write(b"more")
        return opened

    monkeypatch.setattr(inputs.image_files, "open_pictures", changing)
    with pytest.raises(UserError, match=r"deep/e\.png: has changed since the prediction began"):
        predict(images, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("e.png"))
