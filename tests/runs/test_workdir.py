"""The folder of a run: its record, and the network loaded from it."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.originals import write_isbi2012

import unet_jax
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.finished import Contents
from unet_jax.configs import isbi2012
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.experiment.build import create_dataset
from unet_jax.runs import loop, same_bits
from unet_jax.runs import workdir as run_folder
from unet_jax.runs.load import load_predictor, open_run
from unet_jax.runtime import processor


@pytest.mark.slow
def test_load_predicts_masks_at_the_size_of_the_source(trained):
    image = render(5, 0, size=(45, 70))["image"]
    masks, probabilities = unet_jax.load(trained[0]).predict(image)
    assert masks.shape == (45, 70, 2)
    assert masks.dtype == bool
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(masks[..., 1], probabilities.argmax(-1) == 2)


def test_load_reads_the_chosen_checkpoint(trained):
    runs = {which: open_run(trained[0], checkpoint=which) for which in ("latest", 3, "6")}
    assert {which: run.step for which, run in runs.items()} == {"latest": 6, 3: 3, "6": 6}
    image = render(5, 0, size=(32, 32))["image"]
    a, b, c = (runs[which].predictor.predict(image)[1] for which in ("latest", 3, "6"))
    np.testing.assert_array_equal(a, c)
    assert np.abs(a - b).max() > 0


def test_level_reads_only_its_parameters(trained, monkeypatch):
    asked = []
    restore = Checkpointer.restore
    monkeypatch.setattr(
        Checkpointer, "restore", lambda self, step, like: asked.append(like) or restore(self, step, like)
    )
    load_predictor(trained[0], level=1)
    assert set(asked[0]) == {"params", "batch_stats"}
    assert set(asked[0]["params"]) == {"x_0_0", "x_1_0", "up_0_1", "x_0_1", "head_1"}
    with pytest.raises(UserError, match=r"level 3\b.*0, 1, 2"):
        load_predictor(trained[0], level=3)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"^model={tmp_path} .*config\.json"):
        unet_jax.load(tmp_path)
    with pytest.raises(UserError, match=r"^model is empty"):
        unet_jax.load("")


def test_a_config_of_another_version_is_refused(trained, tmp_path):
    """Every way to open the run refuses it, before its checkpoints are touched."""
    config = json.loads((trained[0] / "config.json").read_text())
    config["eval"]["keep"] = config["eval"].pop("classes")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"^model={tmp_path}: .*config\.json.*eval\.keep.*classes"):
        unet_jax.load(tmp_path)


def test_relative_paths_of_the_data_are_kept_as_absolute_ones(cache_dir, tmp_path, monkeypatch):
    """A run can be opened from another folder, and the same command resumes it."""
    write_isbi2012(tmp_path / "data/isbi")
    (tmp_path / "my.csv").write_text("id,split\n00,train\n01,val\n")
    (tmp_path / "elsewhere").mkdir()
    for split_file, kept in (("configs/splits/isbi2012.csv",) * 2, ("my.csv", str(tmp_path / "my.csv")), ("", "")):
        monkeypatch.chdir(tmp_path)
        config = isbi2012.get_config("data/isbi")
        config.data.update({"cache_dir": cache_dir, "split_file": split_file})
        dataset = create_dataset(config)
        run_folder.open_workdir("run", config, dataset, 10)
        monkeypatch.chdir("elsewhere")
        opened = run_folder.load_config(tmp_path / "run")
        assert (opened.data.root, opened.data.split_file) == (str(tmp_path / "data/isbi"), kept)
        assert create_dataset(opened).fingerprint == dataset.fingerprint
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "read_contents", lambda folder: Contents((1,), {}, (), ()))
            run_folder.open_workdir("run", config, dataset, 10)
        assert config.data.root == "data/isbi"


def test_other_paths_of_the_data_stay():
    data = {"root": "gs://bucket/data", "data_dir": "", "split_file": "/a/b.csv", "name": "image_folder"}
    assert run_folder.absolute_paths(data) == data


def test_home_is_expanded(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained[0].parent))
    assert unet_jax.load(f"~/{trained[0].name}").report_classes == ("anode", "cathode")


def test_other_data_are_refused_on_resume(trained, config, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    versions = json.loads((workdir / "versions.json").read_text())
    versions["data"]["fingerprint"] = "0" * 64
    (workdir / "versions.json").write_text(json.dumps(versions))
    with pytest.raises(UserError, match=r"--workdir=.*fingerprint 000000000000"):
        loop.train_and_evaluate(config, workdir)


def test_versions_hold_what_a_run_ran_on(trained, monkeypatch):
    (versions,) = json.loads((trained[0] / "versions.json").read_text())["starts"]
    assert versions["packages"]["jax"] == jax.__version__
    needed = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {re.match(r"[\w-]+", requirement)[0] for requirement in needed}
    # Flags, paths, pictures and bars change no result.
    needed -= {"absl-py", "etils", "fsspec", "matplotlib", "tqdm"}
    assert needed | {"unet-jax", "jaxlib", "tensorstore"} <= set(versions["packages"])
    assert versions["jax_config"].keys() == set(run_folder.SETTINGS)
    assert versions["jax_config"]["jax_default_prng_impl"] == jax.config.jax_default_prng_impl
    assert versions["jax_config"]["jax_numpy_dtype_promotion"] == "standard"
    assert versions["cpu"]["threads"] == max(4, processor.usable_cores())
    assert set(same_bits.PACKAGES) <= set(run_folder.PACKAGES)
    assert (versions["device_count"], versions["device_kind"]) == (4, jax.devices()[0].device_kind)
    monkeypatch.setattr(run_folder, "_git", lambda *asked: {"rev-parse": "a commit", "status": "M a file"}[asked[0]])
    assert [run_folder.versions()[key] for key in ("git_commit", "git_dirty")] == ["a commit", True]
    assert "host_platform_device_count=4" in versions["xla_flags"]
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_of=ours")
    monkeypatch.setattr(run_folder, "PACKAGES", ("jax", "no-such-package"))
    assert run_folder.versions()["libtpu_init_args"] == "--xla_tpu_of=ours"
    assert set(run_folder.versions()["packages"]) == {"jax"}


def test_a_run_resumes_where_its_data_have_moved(cache_dir, tmp_path, monkeypatch):
    config = isbi2012.get_config(str(tmp_path / "before"))
    monkeypatch.setattr(run_folder, "load_config", lambda workdir, imports: config)
    monkeypatch.setattr(run_folder, "load_facts", lambda workdir: {"fingerprint": "a", "splits": {}})
    moved = config.to_dict() | {"data": config.data.to_dict() | {"root": "elsewhere", "split_file": "copy.csv"}}
    run_folder._check_same(tmp_path, moved, {"fingerprint": "a", "splits": {}})
    # A split file with other content.
    with pytest.raises(UserError, match=r"fingerprint a\b.*\bb now.*--workdir"):
        run_folder._check_same(tmp_path, moved, {"fingerprint": "b", "splits": {}})
