"""Runs and data in a bucket (`gs://`), over the protocol of Cloud Storage, from a server on this machine."""

import dataclasses
import re
import shutil
import signal
from pathlib import Path

import fsspec
import numpy as np
import pytest
from absl import flags
from google.protobuf.message import DecodeError
from helpers.grey_images import contents, write_grey
from helpers.known_network import predictor
from helpers.originals import assert_same_examples, write_isbi2012, write_nuclei
from helpers.served_bucket import served_bucket
from PIL import Image

import unet_jax
from unet_jax.analysis.verify_resume.verify import compare, verify_resume
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.integrity import DamagedCheckpoint, raise_if_damaged
from unet_jax.configs import image_folder
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading import train_pipeline
from unet_jax.data.store import cache
from unet_jax.errors import UserError
from unet_jax.inference.folder import predict_folder
from unet_jax.runs import hold, loop
from unet_jax.runs.stop_signal import Interrupted
from unet_jax.runtime import cli
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors, translate_bucket_error
from unet_jax.tracking import tensorboard
from unet_jax.tracking.metrics_file import read_metrics

# gcsfs warns of a file of more than a megabyte, such as a trace.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture(scope="module")
def bucket():
    """Returns the address of an empty bucket."""
    with served_bucket() as address:
        yield address


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Writes a folder of twelve images with masks and an index."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(12):
        mask = (draw.random((4, 4)) < 0.5).repeat(8, 0).repeat(8, 1)
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"masks/{number}.png")
        noisy = 90 * mask + draw.integers(0, 90, mask.shape)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"images/{number}.png")
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    (folder / "index.csv").write_text("id,split\n" + "".join(f"{i},{split}\n" for i, split in enumerate(splits)))
    return folder


@pytest.fixture
def of_folder(config, cache_dir):
    """Returns the config of a small experiment on such a folder."""

    def create(root):
        folder = image_folder.get_config(str(root))
        config.data = folder.data
        config.data.update({"cache_dir": cache_dir, "class_names": ("background", "thing"), "patch": (32, 32)})
        config.eval.classes = ("thing",)
        config.model.widths = (4, 8)
        return config

    return create


@pytest.mark.usefixtures("shared_steps")
def test_a_run_in_a_bucket_is_that_of_a_local_folder(bucket, images, of_folder, tmp_path, monkeypatch, capsys):
    """The run is interrupted and resumed, then damaged and resumed. Its data and results lie in the bucket too."""
    paths.copy(paths.Path(images), paths.Path(bucket) / "data")
    loop.train_and_evaluate(of_folder(images), tmp_path / "run")
    workdir, config = paths.resolve(f"{bucket}/runs/one", "--workdir"), of_folder(f"{bucket}/data")

    def signalling(*args, train_batches=train_pipeline.train_batches, **kwargs):
        for step, batch in enumerate(train_batches(*args, **kwargs), 1):
            if step == 4:
                signal.raise_signal(signal.SIGINT)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(train_pipeline, "train_batches", signalling)
        with pytest.raises(Interrupted, match=r"step 4 .*gs://bucket/runs/one"):
            loop.train_and_evaluate(config, str(workdir))
    loop.train_and_evaluate(config, str(workdir), profile_steps="6:6")
    differences, seen = compare(tmp_path / "run", workdir)
    assert not [line for line in differences if not line.startswith("metrics.jsonl")]  # a stop adds a row
    assert "leaves of checkpoint 6 bit by bit" in seen
    rows, local = (read_metrics(folder / "metrics.jsonl") for folder in (workdir, tmp_path / "run"))
    assert [row["step"] for row in rows] == [2, 3, 3, 4, 6, 6, 6]
    assert [row["loss"] for row in rows if row["step"] == 6 and "loss" in row] == [
        row["loss"] for row in local if row["step"] == 6 and "loss" in row
    ]
    for name in ("curves.png", "eval/test/best.png"):
        assert (workdir / name).read_bytes().startswith(b"\x89PNG")
    assert (workdir / "profile/plugins").is_dir()
    assert len(list((workdir / "eval/test/ids").iterdir())) == 2

    image = np.asarray(Image.open(images / "images/0.png"))
    masks = unet_jax.load(str(workdir)).predict(image)[0]
    np.testing.assert_array_equal(masks, unet_jax.load(tmp_path / "run").predict(image)[0])

    (workdir / "checkpoints/6/state/manifest.ocdbt").unlink()
    capsys.readouterr()
    loop.train_and_evaluate(config, str(workdir))
    printed = capsys.readouterr().out
    assert "checkpoint 6 in gs://bucket/runs/one/checkpoints" in printed
    assert "going on from step 4 in" in printed
    assert (workdir / "checkpoints_damaged/6/_CHECKPOINT_METADATA").exists()
    differences, _ = compare(tmp_path / "run", workdir)
    assert not [line for line in differences if not line.startswith("metrics.jsonl")]


@pytest.fixture
def forbid(bucket):
    """Returns a function of a text: after its call the bucket refuses every object whose name contains the text."""
    note = paths.Path(bucket) / "forbidden"
    yield note.write_text
    note.unlink(missing_ok=True)


def test_what_a_bucket_refuses_is_no_damage(bucket, forbid):
    folder = paths.resolve(f"{bucket}/refusing/checkpoints", "--workdir")
    state = {"params": {"a": np.arange(10.0, dtype=np.float32)}}
    checkpointer = Checkpointer(folder)
    for step in (1, 2):
        checkpointer.save(step, state)
    checkpointer.wait()
    for part in ("2/state/", "2/digests/"):
        forbid(f"refusing/checkpoints/{part}")
        with pytest.raises(UserError, match=r"checkpoint 2 in gs://bucket/") as caught:
            checkpointer.restore(2, state)
        assert not isinstance(caught.value, DamagedCheckpoint)
    paths.Path(f"{bucket}/forbidden").unlink()
    np.testing.assert_array_equal(checkpointer.restore(2, state)["params"]["a"], state["params"]["a"])
    forbid("refusing/checkpoints/3")
    checkpointer.save(3, state)
    with pytest.raises(UserError, match=r"checkpoint 3 .*step 2\b"):
        checkpointer.close()


@pytest.mark.parametrize(
    "error",
    [
        OSError("image file is truncated"),
        OSError(28, "No space left on device"),
        FileNotFoundError("gs://bucket/a"),
        ValueError("RESOURCE_EXHAUSTED: Out of memory"),
        ValueError("NOT_FOUND: gs://bucket/a"),
        DecodeError("Wire format was corrupt"),
        KeyError("gcsfs"),
    ],
)
def test_other_errors_are_told_as_what_they_are(error):
    assert translate_bucket_error(error) is None


@pytest.mark.parametrize("error", [OSError("Error -3 while decompressing"), ValueError("NOT_FOUND: /a/b")])
def test_what_cannot_be_read_for_another_reason_is_damage(error):
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint 2: state"), raise_if_damaged("checkpoint 2: state"):
        raise error


def test_what_a_bucket_refuses_is_an_error_of_one_line(bucket, forbid, capsys, monkeypatch):
    forbid("refusing/eval")
    with (
        pytest.raises(UserError, match=r"bucket.*\(Forbidden: "),
        report_write_errors(),
    ):
        (paths.Path(bucket) / "refusing/eval").write_text("a")
    with pytest.raises(UserError, match=r"refusing/eval|bucket"):
        paths.read_if_there(paths.Path(bucket) / "refusing/eval")
    monkeypatch.setattr("sys.argv", ["program"])
    # The settings of JAX stay those of this test run.
    monkeypatch.setattr("unet_jax.runtime.compilation_cache.enable", lambda on: None)
    with pytest.raises(SystemExit, match="2"):
        cli.run((paths.Path(bucket) / "refusing/eval").read_text, "A program.", flags.FlagValues())
    assert re.match(r"error: .*bucket.*\(Forbidden: ", capsys.readouterr().err)


def test_the_organisers_files_are_read_there(bucket, tmp_path, cache_dir):
    draw = np.random.default_rng(0)
    write_isbi2012(tmp_path / "isbi2012", size=(8, 8))
    ids = "abcdef"
    images = {id_: draw.integers(0, 256, (12, 10)).astype(np.uint8) for id_ in ids}
    write_nuclei(tmp_path / "dsb2018", images, {id_: draw.random((2, 12, 10)) < 0.3 for id_ in ids})
    for name in ("isbi2012", "dsb2018"):
        paths.copy(paths.Path(tmp_path / name), paths.Path(bucket) / name)
        there, here = (
            load_dataset(name, root=str(root / name), cache_dir=cache_dir) for root in (paths.Path(bucket), tmp_path)
        )
        assert (there.fingerprint, there.splits) == (here.fingerprint, here.splits)
        assert_same_examples(there, here)


def test_hidden_files_and_placeholders_count_for_nothing(bucket, tmp_path):
    for folder in (paths.Path(bucket) / "with hidden", paths.Path(tmp_path)):
        for name in ("a/b.png", "a/._b.png", ".c/d.png"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("")
        assert paths.glob(folder, "*/*.png") == [folder / "a/b.png"]
    fsspec.filesystem("gcs").pipe_file("bucket/with hidden/a/", b"")  # as the console makes a folder
    paths.copy(paths.Path(bucket) / "with hidden/a", paths.Path(tmp_path) / "copied")
    assert sorted(path.name for path in (tmp_path / "copied").iterdir()) == ["._b.png", "b.png"]


def test_a_file_grows_and_is_replaced(bucket, tmp_path):
    for folder in (paths.Path(bucket) / "files", paths.Path(tmp_path) / "files [1]"):
        folder.mkdir(parents=True)
        paths.append(folder / "rows", "1\n")
        paths.append(folder / "rows", "2\n")
        assert (folder / "rows").read_text() == "1\n2\n"
        paths.write_whole(folder / "rows", b"3")
        assert (folder / "rows").read_bytes() == b"3"
        (folder / "a/b").mkdir(parents=True)
        (folder / "a/b/c").write_text("4")
        paths.move(folder / "a", folder / "moved")
        assert (folder / "moved/b/c").read_text() == "4"
        assert not (folder / "a").exists()
        assert paths.glob(folder, "moved/*/c") == [folder / "moved/b/c"]


def test_what_cannot_be_done_in_a_bucket_is_refused(bucket, config, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"data\.cache_dir=gs://bucket/cache .*local"):
        cache.cache_folder("gs://bucket/cache")
    with pytest.raises(UserError, match=r"--workdir=gs://bucket/run .*local"):
        verify_resume(config, "gs://bucket/run", command=())
    with pytest.raises(UserError, match=r"--workdir=gs://other/run .*\(.*\).*bucket"):
        loop.train_and_evaluate(config, "gs://other/run")
    for of in (paths.resolve, paths.expand, paths.resolve_local):
        with pytest.raises(UserError, match=r"--workdir=s3://bucket/run .*gs://BUCKET"):
            of("s3://bucket/run", "--workdir")
    with monkeypatch.context() as patch:
        patch.setattr(paths.importlib.util, "find_spec", lambda _: None)
        with pytest.raises(UserError, match=r"gcsfs.*unet-jax\[gcs\]"):
            paths.resolve(f"{bucket}/run", "--workdir")
    with monkeypatch.context() as patch:
        patch.setattr(type(paths.Path("gs://bucket")), "stat", lambda _: 1 / 0)
        with pytest.raises(UserError, match=r"gs://bucket/run .*\(division by zero\).*gcloud auth"):
            paths.resolve(f"{bucket}/run", "--workdir")


def test_events_of_tensorboard(bucket):
    folder = paths.Path(bucket) / "events"
    writer = tensorboard.TensorBoardWriter(folder, 0, [{"id": "a"}], class_names=("thing",), report_classes=("thing",))
    writer.write_row(1, "train", {"loss": 0.5})
    writer.write_pictures(1, "val")
    assert next(folder.iterdir()).name.startswith("events")
    writer.close()
    assert b"train/loss" in next(folder.iterdir()).read_bytes()


def test_what_a_library_writes_on_a_disk_goes_to_the_bucket(bucket, tmp_path):
    for folder in (paths.Path(bucket) / "trace", paths.Path(tmp_path) / "trace"):
        with paths.via_local_folder(folder) as there:
            (Path(there) / "a").mkdir(parents=True)
            shutil.copy(__file__, Path(there) / "a/b")
        assert (folder / "a/b").read_bytes() == Path(__file__).read_bytes()


def test_one_run_holds_a_workdir_in_a_bucket(bucket):
    folder = paths.Path(bucket) / "held"
    with hold.hold(folder) as held:
        first = hold.Holder.read((folder / hold.NAME).read_bytes())
        (folder / hold.NAME).write_bytes(dataclasses.replace(first, heartbeat="").content())
        held._beat()
        assert hold.Holder.read((folder / hold.NAME).read_bytes()).heartbeat
        with pytest.raises(UserError, match=r"--workdir=gs://bucket/held .*process"), hold.hold(folder):
            pass
    assert not (folder / hold.NAME).exists()
    (folder / hold.NAME).write_bytes(dataclasses.replace(first, pid=2**22 + 1).content())
    with hold.hold(folder):
        assert hold.Holder.read((folder / hold.NAME).read_bytes()).token != first.token
        assert not paths.create_whole(folder / hold.NAME, b"")


def test_a_prediction_in_a_bucket_goes_on(bucket, tmp_path):
    for number, name in enumerate(("a", "b", "deep/c", "deep/er.d/e")):
        write_grey(tmp_path / f"images/{name}.png", (8, 8), 60 * number)
    paths.copy(paths.Path(tmp_path / "images"), paths.Path(bucket) / "tree")
    tree, out = f"{bucket}/tree", f"{bucket}/predicted/out"
    assert predict_folder(predictor(), tree, out, recursive=True, shard=(1, 2))["num_images"] == 2
    info = predict_folder(predictor(), tree, out, recursive=True)
    assert (info["num_images"], info["num_finished"], info["num_there"]) == (2, 2, 4)
    assert predict_folder(predictor(), f"{tree}/*.png", out)["num_finished"] == 2
    paths.copy(paths.Path(out), paths.Path(tmp_path / "copy/out"))
    predict_folder(predictor(), tmp_path / "images", tmp_path / "out", recursive=True)
    local, there = contents(tmp_path / "out"), contents(tmp_path / "copy/out")
    # The records differ: in the addresses of the images.
    assert local.pop("prediction.json") != there.pop("prediction.json")
    assert local == there
    with pytest.raises(UserError, match=r"--out=gs://bucket/predicted/out holds results that were made with mode"):
        predict_folder(predictor(mode="fast"), tree, out, recursive=True)
