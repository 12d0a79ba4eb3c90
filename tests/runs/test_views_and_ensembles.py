"""Several runs and views from the commands' functions: scores, masks, uncertainty, and what is refused."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import unet_jax
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.evaluation.failures import LOOKED_AT
from unet_jax.runs.predict import predict_images
from unet_jax.runs.score import _note_other_data, score_run


@pytest.fixture(scope="module")
def twin(trained, tmp_path_factory):
    """Returns a copy of the run, in another folder."""
    return shutil.copytree(trained[0], tmp_path_factory.mktemp("twin") / "run")


def changed(run, folder, section, **options):
    """Returns a copy of a run whose config has other options."""
    copy = shutil.copytree(run, folder)
    config = json.loads((copy / "config.json").read_text())
    config[section].update(options)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_two_runs_and_views_are_scored_into_a_folder(trained, twin, tmp_path, capsys):
    before = sorted(trained[0].rglob("*"))
    out = tmp_path / "out"
    summary = score_run([trained[0], twin], views="flips", uncertainty=True, out=out)
    alone = score_run(trained[0], views="flips")
    # Two copies of one network are that network.
    assert summary["iou_pooled/mean"] == pytest.approx(alone["iou_pooled/mean"], abs=1e-3)
    assert [path for path in sorted(trained[0].rglob("*")) if path not in before and "eval" not in path.parts] == []
    assert json.loads((trained[0] / "eval/test-flips.json").read_text())["views"] == "flips"
    content = json.loads((out / "test-flips-uncertainty.json").read_text())
    assert [network["workdir"] for network in content["networks"]] == [str(trained[0]), str(twin)]
    described = content["uncertainty"]
    assert described["num_images"] <= len(content["images"]) == 3
    assert {len(measure["risk_coverage"]) for measure in described["measures"].values()} == {len(LOOKED_AT)}
    table = list(csv.DictReader((out / "test-flips-uncertainty/uncertainty.csv").read_text().splitlines()))
    assert sorted(row["name"] for row in table) == sorted(row["id"] for row in content["images"])
    for row in content["images"]:
        pixels = np.asarray(Image.open(out / f"test-flips-uncertainty/uncertainty/{row['id']}.tif"))
        assert pixels.shape == (row["height"], row["width"])
        assert pixels.mean() / 65535 == pytest.approx(row["entropy"], abs=1e-4)
    assert "rank corr." in capsys.readouterr().out
    with pytest.raises(UserError, match=r"test-flips-uncertainty\.json exists.*--overwrite"):
        score_run([trained[0], twin], views="flips", uncertainty=True, out=out)


def test_the_scores_of_several_runs_need_a_folder(trained, twin):
    with pytest.raises(UserError, match=r"^--out is missing: .*scores of 2 runs"):
        score_run([trained[0], twin])
    with pytest.raises(UserError, match=r"--out=.* is the folder of a run"):
        score_run([trained[0], twin], out=twin)


def test_masks_and_maps_of_image_files_go_on_after_an_interruption(trained, twin, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index, size in enumerate(((40, 50), (33, 70))):
        Image.fromarray(render(5, index, size=size)["image"][..., 0]).save(tmp_path / "in" / f"cell_{index}.png")
    out, save = tmp_path / "out", ["ids", "uncertainty"]
    given = {"views": "flips", "save": save}
    assert predict_images([trained[0], twin], tmp_path / "in", out, **given)["num_images"] == 2
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert sorted(str(path.relative_to(out)) for path in files) == [
        *(f"ids/cell_{index}.png" for index in (0, 1)),
        "prediction.json",
        "uncertainty.csv",
        *(f"uncertainty/cell_{index}.tif" for index in (0, 1)),
    ]
    for name in ("uncertainty/cell_1.tif", "uncertainty.csv"):
        (out / name).unlink()
    assert predict_images([trained[0], twin], tmp_path / "in", out, **given)["num_images"] == 1
    assert {path: path.read_bytes() for path in files} == files
    assert "2 checkpoints" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--out=.*views.*"):
        predict_images([trained[0], twin], tmp_path / "in", out, save=save)
    predict_images(trained[0], tmp_path / "in", tmp_path / "fast", mode="fast", save=save)
    assert "only its entropy" in capsys.readouterr().out


def test_what_does_not_fit_is_named(trained, twin, tmp_path):
    first, link = trained[0], tmp_path / "link"
    link.symlink_to(twin)
    image_range = changed(first, tmp_path / "range", "data", normalize="range")
    for models, words in (
        ([first, image_range], rf"^data\.normalize: image in model={first}, and range in model={image_range};"),
        ([first, "electrodes", first], rf"^model={first} is given twice"),
        ([twin, link], rf"^model={link} is given twice"),
        ([], "no network is given"),
    ):
        with pytest.raises(UserError, match=words):
            unet_jax.load(models)
    unturned = changed(first, tmp_path / "unturned", "augment", flip=True, quarter_turns=False)
    with pytest.raises(
        UserError, match=rf"^views 'all': model={unturned} was not trained on images turned by 90 degrees"
    ):
        unet_jax.load([first, unturned], views="all")
    assert unet_jax.load([first, unturned], views="all", force_views=True).num_members == 2 * 8 * 2
    with pytest.raises(UserError, match=r"^views 'mirrors' is unknown; known: flips, turns, all"):
        unet_jax.load(first, views="mirrors")


def test_a_run_of_other_data_is_noted(capsys):
    runs = [SimpleNamespace(facts={"fingerprint": fingerprint}) for fingerprint in ("x", "x", "y")]
    _note_other_data(runs, ("runs/a", "runs/b", "runs/c"), "test")
    noted = capsys.readouterr().out
    assert noted.startswith("note: runs/c was trained on other data or another split than runs/a, whose test is scored")
    assert noted.count("note:") == 1
