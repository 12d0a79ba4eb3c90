"""A finished run in use: loaded, scored again, applied to a folder, and moved to another number of devices."""

import dataclasses
import json
import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers.originals import write_isbi2012, write_tfds
from PIL import Image

import unet_jax
from configs import isbi2012, pets
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.experiment.build import create_dataset
from unet_jax.inference.predictor import Predictor
from unet_jax.runs import loop, score
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import load_predictor, open_run


def test_load_predicts_masks_at_the_size_of_the_source(trained):
    image = render(5, 0, size=(45, 70))["image"]
    masks, probabilities = unet_jax.load(trained[0]).predict(image)
    assert masks.shape == (45, 70, 2)
    assert masks.dtype == bool
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(masks[..., 1], probabilities.argmax(-1) == 2)


def test_load_reads_the_checkpoint_asked_for(trained):
    runs = {which: open_run(trained[0], checkpoint=which) for which in ("latest", 3, "6")}
    assert {which: run.step for which, run in runs.items()} == {"latest": 6, 3: 3, "6": 6}
    image = render(5, 0, size=(32, 32))["image"]
    a, b, c = (runs[which].predictor.predict(image)[1] for which in ("latest", 3, "6"))
    np.testing.assert_array_equal(a, c)
    assert np.abs(a - b).max() > 0


def test_score_run_on_val_and_on_other_devices(trained):
    scores = score.score_run(trained[0], split="val", devices=jax.local_devices()[:1])
    rows = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    best = max((row for row in rows if row["split"] == "val"), key=lambda row: row["iou_pooled/mean"])
    assert scores["iou_pooled/mean"] == pytest.approx(best["iou_pooled/mean"], abs=1e-6)
    assert json.loads((trained[0] / "eval/val.json").read_text())["split"] == "val"


def test_an_image_goes_through_the_network_once(trained, monkeypatch):
    rows, run = [], Predictor.run
    monkeypatch.setattr(
        Predictor, "run", lambda self, fn, batch: rows.append(len(batch["image"])) or run(self, fn, batch)
    )
    score.score_run(trained[0], split="val", devices=jax.local_devices()[:1])
    assert rows == [3]  # scores, masks and pictures of three images of one size
    written = {path.stem for path in (trained[0] / "eval/val/masks/anode").iterdir()}
    assert {path.stem for path in (trained[0] / "eval/val/overlays").iterdir()} <= written


def test_without_a_test_split_val_is_scored_and_it_is_said(trained, config, capsys):
    dataset = create_dataset(config)
    sources = {split: source for split, source in dataset.sources.items() if split != "test"}
    scores = score.score_run(trained[0], dataset=dataclasses.replace(dataset, sources=sources))
    assert scores["iou_pooled/mean"] == score.score_run(trained[0], split="val")["iou_pooled/mean"]
    assert "there is no test split; scoring val instead" in capsys.readouterr().out


def test_other_choices_go_under_a_name_of_their_own(trained, capsys):
    before = (trained[0] / "eval/test.json").read_text()
    score.score_run(trained[0], checkpoint="latest", mode="fast")
    score.score_run(trained[0], split="val", mode="accurate")  # the run's own: no other name
    assert json.loads((trained[0] / "eval/test-latest-fast.json").read_text())["mode"] == "fast"
    assert (trained[0] / "eval/test.json").read_text() == before
    assert not (trained[0] / "eval/val-accurate.json").exists()
    assert "eval/test-latest-fast.json" in capsys.readouterr().out


def test_a_mean_over_heads_of_a_network_with_one_is_refused(trained, tmp_path):
    config = json.loads((trained[0] / "config.json").read_text())
    shutil.copytree(trained[0], tmp_path / "run")
    config["model"]["deep_supervision"] = False
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    for ask in (score.score_run, unet_jax.load):
        with pytest.raises(
            UserError, match=r"has one, as it was trained without deep supervision; use 'fast', or leave"
        ):
            ask(tmp_path / "run", mode="accurate")
    assert unet_jax.load(tmp_path / "run", mode="fast").mode == "fast"
    assert unet_jax.load(tmp_path / "run").mode == "accurate"  # the config's: of one head


def test_predict_images_with_fast_mode(trained, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index, size in enumerate(((40, 50), (33, 70))):
        image = render(5, index, size=size)["image"][..., 0]
        Image.fromarray(image).save(tmp_path / "in" / f"cell_{index}.png")
    score.predict_images(trained[0], tmp_path / "in", tmp_path / "out", mode="fast")
    ids = np.asarray(Image.open(tmp_path / "out/ids/cell_1.png"))
    cathode = np.asarray(Image.open(tmp_path / "out/masks/cathode/cell_1.png"))
    assert ids.shape == (33, 70)
    np.testing.assert_array_equal(cathode, (ids == 2) * np.uint8(255))
    assert (tmp_path / "out/overlays/cell_0.png").exists()
    assert "2 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="overwrite"):
        score.predict_images(trained[0], tmp_path / "in", tmp_path / "out", mode="fast")


def test_level_reads_only_its_parameters(trained, monkeypatch):
    asked = []
    restore = Checkpointer.restore
    monkeypatch.setattr(
        Checkpointer, "restore", lambda self, step, like: asked.append(like) or restore(self, step, like)
    )
    load_predictor(trained[0], level=1)
    assert set(asked[0]) == {"params", "batch_stats"}
    assert set(asked[0]["params"]) == {"x_0_0", "x_1_0", "up_0_1", "x_0_1", "head_1"}
    with pytest.raises(UserError, match="level 3"):
        load_predictor(trained[0], level=3)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no config.json, so no run is there"):
        unet_jax.load(tmp_path)
    with pytest.raises(UserError, match=r"--workdir is empty"):
        unet_jax.load("")


def test_home_is_expanded(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained[0].parent))
    assert unet_jax.load(f"~/{trained[0].name}").report_classes == ("anode", "cathode")


def test_other_data_are_refused_on_resume(trained, config, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    versions = json.loads((workdir / "versions.json").read_text())
    versions["data"]["fingerprint"] = "0" * 64
    (workdir / "versions.json").write_text(json.dumps(versions))
    with pytest.raises(UserError, match="on other data"):
        loop.train_and_evaluate(config, workdir)


def test_versions_tell_what_it_ran_on(trained, monkeypatch):
    (versions,) = json.loads((trained[0] / "versions.json").read_text())["starts"]
    assert versions["packages"]["jax"] == jax.__version__
    needed = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {re.match(r"[\w-]+", requirement)[0] for requirement in needed}
    needed -= {"absl-py", "etils", "fsspec", "matplotlib", "tqdm"}  # flags, paths, pictures, bars
    assert needed | {"unet-jax", "jaxlib", "tensorstore"} <= set(versions["packages"])
    assert versions["jax_config"] == {name: getattr(jax.config, name) for name in folder.SETTINGS}
    assert (versions["device_count"], versions["device_kind"]) == (4, jax.devices()[0].device_kind)
    monkeypatch.setattr(folder, "_git", lambda *asked: {"rev-parse": "a commit", "status": "M a file"}[asked[0]])
    assert [folder.versions()[key] for key in ("git_commit", "git_dirty")] == ["a commit", True]
    assert "host_platform_device_count=4" in versions["xla_flags"]
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_of=ours")
    monkeypatch.setattr(folder, "PACKAGES", ("jax", "no-such-package"))
    assert folder.versions()["libtpu_init_args"] == "--xla_tpu_of=ours"
    assert set(folder.versions()["packages"]) == {"jax"}


def test_the_original_data_may_have_moved(cache_dir, tmp_path, monkeypatch):
    write_isbi2012(tmp_path / "now")
    config = isbi2012.get_config(str(tmp_path / "before"))
    config.data.cache_dir = cache_dir
    with pytest.raises(UserError, match="before has no train-volume"):
        create_dataset(config)
    run = SimpleNamespace(config=config, facts={"fingerprint": "", "class_names": ["interior", "membrane"]})
    assert score.open_dataset(run, tmp_path, str(tmp_path / "now")).splits["test"] == 6

    write_tfds(tmp_path / "tfds", {"train": 10, "test": 2}, name="oxford_iiit_pet")
    of_tfds = pets.get_config(str(tmp_path / "before"))
    of_tfds.data.cache_dir = cache_dir
    run = SimpleNamespace(config=of_tfds, facts={"fingerprint": "", "class_names": list(of_tfds.data.class_names)})
    assert score.open_dataset(run, tmp_path, str(tmp_path / "tfds")).splits["test"] == 2

    monkeypatch.setattr(folder, "load_config", lambda workdir: config)
    monkeypatch.setattr(folder, "load_facts", lambda workdir: {"fingerprint": "a"})
    moved = config.to_dict() | {"data": config.data.to_dict() | {"root": "elsewhere", "split_file": "copy.csv"}}
    folder._check_same(tmp_path, moved, {"fingerprint": "a"})
    with pytest.raises(UserError, match="holds a run on other data"):  # a split file of another content
        folder._check_same(tmp_path, moved, {"fingerprint": "b"})
