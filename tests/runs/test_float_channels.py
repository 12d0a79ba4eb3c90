"""A run on images of seven float channels with NaN: trained, scored, predicted and measured, whole and in bands."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from unet_jax import load
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.inference import prediction_loop
from unet_jax.measurement.objects import Options
from unet_jax.runs.loop import train_and_evaluate
from unet_jax.runs.measure import measure
from unet_jax.runs.predict import predict_images
from unet_jax.runs.score import score_run

SIZES = ((32, 40), (40, 32), (36, 36), (33, 47))
UNKNOWN = (slice(3, 9), slice(20, 27))


def write(folder):
    """Writes images whose object is bright in the last channel, each with a window of NaN in one channel."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, size in enumerate(SIZES):
        image, mask = rng.normal(100, 3, (*size, 7)).astype(np.float32), np.zeros(size, np.uint8)
        mask[10:24, 6:22] = 1
        image[..., 6] += 1e4 * mask
        image[(*UNKNOWN, number)] = np.nan
        path = folder / "images" / f"x{number}.tif"
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
        Image.fromarray(mask).save(folder / "masks" / f"x{number}.png")
    (folder / "index.csv").write_text("id,split\nx0,train\nx1,train\nx2,val\nx3,test\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("channels")
    write(folder / "data")
    config = default.get_config()
    config.data = default.image_folder(str(folder / "data"))
    config.data.update(
        {"patch": (32, 32), "cache_dir": str(folder / "cache"), "nan": "void", "normalize": "percentile"}
    )
    config.model.widths = (4, 8)
    config.train.update({"batch_size": 4, "num_steps": 4, "log_every": 2, "eval_every": 4})
    config.optim.warmup_steps = 1
    config.eval.classes = ()
    train_and_evaluate(config, folder / "run")
    image = tifffile.imread(folder / "data/images/x3.tif")
    array = zarr.create_array(folder / "scans/x3.zarr", shape=image.shape, dtype="f4", dimension_names=("y", "x", "c"))
    array[:] = image
    return folder


def test_losses_and_scores_are_finite_and_leave_nan_out(trained):
    rows = [json.loads(line) for line in (trained / "run/metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    record = json.loads((trained / "run/config.json").read_text())
    assert record["data"]["nan"] == "void"


def test_scored_and_predicted_masks_are_the_same_whole_and_in_bands(trained, monkeypatch):
    run, images = trained / "run", [trained / "scans/x3.zarr"]
    score_run(run, split="test")
    predict_images(run, images, trained / "whole", save=("ids", "masks", "overlays", "probabilities"))
    monkeypatch.setattr(prediction_loop, "LARGE", 100)
    predict_images(run, images, trained / "bands", save=("ids", "probabilities"), memory=400_000)
    assert json.loads((trained / "bands/prediction.json").read_text())["parts"]
    ids = {
        place: np.asarray(Image.open(trained / place / "ids/x3.png")) for place in ("run/eval/test", "whole", "bands")
    }
    whole = ids["whole"]
    void = np.zeros(whole.shape, bool)
    void[UNKNOWN] = True
    np.testing.assert_array_equal(whole == 255, void)
    np.testing.assert_array_equal(ids["run/eval/test"], whole)
    np.testing.assert_array_equal(ids["bands"], whole)
    of_each = [np.load(trained / place / "probabilities/x3.npz") for place in ("whole", "bands")]
    whole_p, bands_p = (each[each.files[0]] for each in of_each)
    np.testing.assert_array_equal(np.isnan(whole_p).all(-1), void)
    np.testing.assert_allclose(bands_p[~void], whole_p[~void], atol=1e-3)
    mask = np.asarray(Image.open(next((trained / "whole/masks").glob("*/x3.png"))))
    assert not mask[void].any()


def test_measured_and_predicted_in_memory(trained):
    measure([trained / "run"], [trained / "scans/x3.zarr"], "", trained / "measured", options=Options())
    assert (trained / "measured/images.csv").exists()
    predictor = load(trained / "run")
    image = tifffile.imread(trained / "data/images/x3.tif")
    masks, probabilities = predictor.predict(image)
    assert not masks[UNKNOWN].any()
    assert np.isnan(probabilities[UNKNOWN]).all()
    for other, words in ((image[..., :3], "has 3 channels, the network takes 7"), (image[..., :1], "1 channels.* 7")):
        with pytest.raises(UserError, match=words):
            predictor.predict(other)
