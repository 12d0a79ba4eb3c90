"""The temperature of a run: fitted, kept, applied, and refused for another network."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import unet_jax
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.experiment.build import create_dataset
from unet_jax.inference.temperature import apply_temperature
from unet_jax.inference.uncertainty import estimate
from unet_jax.runs import predict, score
from unet_jax.runs.calibration.fit import calibrate


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """Returns a copy of the run, and what `calibrate` has written."""
    workdir = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained[0], workdir)
    return workdir, calibrate(workdir)


def test_the_temperature_is_kept_and_lowers_the_likelihood_on_val(calibrated, capsys):
    workdir, written = calibrated
    assert json.loads((workdir / "calibration.json").read_text()) == written
    assert written["temperature"] > 0
    assert (written["split"], written["views"], written["mode"]) == ("val", "", "accurate")
    metrics = MetricChoice(("calibration", "boundary"))
    before = score.score_run(workdir, split="val", metrics=metrics)
    after = score.score_run(workdir, split="val", metrics=metrics, calibrated=True)
    assert before["nll"] == pytest.approx(written["nll"])
    assert before["ece"] == pytest.approx(written["ece"])
    assert after["nll"] < before["nll"]
    # Masks and what is counted in them do not change.
    for name in ("iou_pooled/mean", "hd95_image/mean", "pixel_accuracy"):
        assert after[name] == before[name]
    shown = capsys.readouterr().out
    assert f"{workdir / 'eval/val-calibrated'}.json" in shown
    assert "NSD at 2 px" in shown
    assert f"ECE {after['ece']:.4f}" in shown
    saved = json.loads((workdir / "eval/val-calibrated.json").read_text())
    assert saved["metrics"] == ["calibration", "boundary"]
    assert saved["tolerance"] == 2
    with Image.open(workdir / "eval/val-calibrated/reliability.png") as picture:
        assert min(picture.size) > 100
    rows = list(csv.DictReader((workdir / "eval/val-calibrated.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [image["id"] for image in saved["images"]]
    assert float(rows[0]["nsd/anode"]) == saved["images"][0]["nsd/anode"]
    # Without calibration, no picture of an earlier one stays.
    score.score_run(workdir, split="val", calibrated=True)
    assert not (workdir / "eval/val-calibrated/reliability.png").exists()


def test_it_is_applied_to_probabilities_alone(calibrated, config, tmp_path):
    workdir, written = calibrated
    image = create_dataset(config).source("test")[0]["image"]
    plain, warm = unet_jax.load(workdir), unet_jax.load(workdir, calibrated=True)
    (masks, probabilities), (warm_masks, warm_probabilities) = plain.predict(image), warm.predict(image)
    np.testing.assert_array_equal(warm_masks, masks)
    expected = apply_temperature(probabilities, written["temperature"], "softmax")
    np.testing.assert_allclose(warm_probabilities, expected, atol=1e-6)
    assert np.abs(warm_probabilities - probabilities).max() > 1e-4
    with pytest.raises(UserError, match="--calibrated and --uncertainty"):
        estimate(warm, ArrayRows(image))
    Image.fromarray(image[..., 0]).save(tmp_path / "x.png")
    save = {"save": ("ids", "probabilities")}
    for name, options in (("plain", {}), ("warm", {"calibrated": True})):
        predict.predict_images(workdir, tmp_path / "x.png", tmp_path / name, **save, **options)
    assert (tmp_path / "warm/ids/x.png").read_bytes() == (tmp_path / "plain/ids/x.png").read_bytes()
    saved = np.load(tmp_path / "warm/probabilities/x.npz")
    np.testing.assert_allclose(saved[saved.files[0]], expected, atol=1e-3)
    record = json.loads((tmp_path / "warm/prediction.json").read_text())
    assert record["settings"]["temperature"] == written["temperature"]
    # Probabilities of two temperatures never mix.
    with pytest.raises(UserError, match="temperature"):
        predict.predict_images(workdir, tmp_path / "x.png", tmp_path / "plain", **save, calibrated=True)


def test_another_network_has_no_temperature(calibrated, trained, tmp_path):
    workdir, written = calibrated
    with pytest.raises(UserError, match=r"calibration\.json is for mode 'accurate', and 'fast'.*unet-jax calibrate"):
        unet_jax.load(workdir, mode="fast", calibrated=True)
    with pytest.raises(UserError, match="is for views '', and 'flips'"):
        unet_jax.load(workdir, views="flips", calibrated=True)
    with pytest.raises(UserError, match=r"calibration\.json is not there; fit it with unet-jax calibrate --workdir="):
        unet_jax.load(trained[0], calibrated=True)
    with pytest.raises(UserError, match="the shipped network electrodes is asked for"):
        unet_jax.load("electrodes", calibrated=True)
    with pytest.raises(UserError, match="2 networks is asked for"):
        unet_jax.load([workdir, trained[0]], calibrated=True)
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    for value in (0, "warm", True, None):
        (other / "calibration.json").write_text(json.dumps(written | {"temperature": value}))
        with pytest.raises(UserError, match=r"calibration\.json holds the temperature"):
            unet_jax.load(other, calibrated=True)
