"""Evaluation of a split and prediction of a folder, with a network whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.evaluation import evaluate, predict_folder
from unet_jax.inference import Predictor

NAMES = ("background", "anode", "cathode")
SIZES = ((20, 30), (16, 16), (20, 31), (33, 20), (9, 40), (18, 32), (32, 30))


class GreyLevels(nn.Module):
    """Grey levels 0, 100, 200 are classes 0, 1, 2; `lost` pixels are lost at each border."""

    num_classes: int = 3
    activation: str = "softmax"
    lost: int = 0

    def output_size(self, size):
        return size - 2 * self.lost

    def input_size(self, size):
        return size + 2 * self.lost

    @nn.compact
    def __call__(self, images, train=False):
        height, width = images.shape[1:3]
        level = 255 * images[:, self.lost : height - self.lost, self.lost : width - self.lost, :1]
        return (40.0 - abs(level - (100 * jnp.arange(self.num_classes)).reshape(1, 1, 1, -1)),)


def predictor(lost=0, activation="softmax", **fields):
    fields = {"normalize": "range", "bucket": 16} | fields
    return Predictor(GreyLevels(lost=lost, activation=activation), {}, NAMES, **fields)


def examples(num=7):
    """Images of known ids, and masks that disagree with them here and there, with void."""
    rng = np.random.default_rng(0)
    made = []
    for i, size in enumerate(SIZES[:num]):
        seen, mask = rng.integers(0, 3, size), rng.integers(0, 3, size)
        mask = np.where(rng.random(size) < 0.7, seen, mask).astype(np.uint8)
        mask[0, :5] = 255
        image = (100 * seen + rng.integers(0, 30, size)).astype(np.uint8)[..., None]
        made.append({"image": image, "mask": mask, "id": f"x{i}", "group": "", "seen": seen})
    return made


def expected_iou(made, k):
    inter = union = 0
    for example in made:
        known = example["mask"] != 255
        a, b = (example["seen"] == k) & known, (example["mask"] == k) & known
        inter, union = inter + (a & b).sum(), union + (a | b).sum()
    return inter / union


@pytest.mark.parametrize("lost", [0, 3])
def test_every_pixel_of_every_image_counts_once_whatever_the_batch_size(lost):
    made = examples()
    results = [evaluate(predictor(lost), made, batch_size=b) for b in (1, 8)]
    for summary, rows in results:
        for k, name in enumerate(NAMES):
            assert summary[f"iou_pooled/{name}"] == pytest.approx(expected_iou(made, k), abs=1e-12)
        assert summary["num_images"] == len(made)
        assert [row["id"] for row in rows] == [e["id"] for e in made]
        assert [(row["height"], row["width"]) for row in rows] == list(SIZES)
        assert rows[3]["iou/anode"] == pytest.approx(expected_iou(made[3:4], 1), abs=1e-12)
        known = made[4]["mask"] != 255
        assert rows[4]["pixel_accuracy"] == pytest.approx((made[4]["seen"] == made[4]["mask"])[known].mean())
        means = [row["iou/mean"] for row in rows]
        assert np.mean(means) == pytest.approx(summary["iou_image/mean"])
    (first, first_rows), (second, second_rows) = results
    assert first_rows == second_rows
    assert {k: v for k, v in first.items() if "/" in k and "per_s" not in k} == {
        k: v for k, v in second.items() if "/" in k and "per_s" not in k
    }


def test_compiles_are_counted_once_per_padded_size():
    made, network = examples(), predictor(devices=jax.local_devices()[:2])
    summary, _ = evaluate(network, made, batch_size=2)
    padded = {tuple(-(-n // 16) * 16 for n in size) for size in SIZES}
    assert summary["num_compiles"] == len(padded) == 4
    summary, _ = evaluate(predictor(devices=jax.local_devices()[:2]), made, batch_size=2)
    assert summary["num_compiles"] == 0
    assert summary["images_per_s"] > 0


def test_processes_add_up():
    made, one = examples(), predictor(devices=jax.local_devices()[:1])
    whole = evaluate(predictor(), made, batch_size=8)[1]
    parts = []
    for process in range(2):

        class Stop(Exception):
            pass

        def keep(table):
            parts.append(table)
            raise Stop

        with pytest.raises(Stop):
            evaluate(one, made, batch_size=2, process_index=process, process_count=2, add_processes=keep)
    total = jax.tree.map(np.add, *parts)
    _, rows = evaluate(one, made, batch_size=2, process_index=1, process_count=2, add_processes=lambda _: total)
    assert rows == whole
    with pytest.raises(RuntimeError, match="not seen exactly once"):
        evaluate(one, made, batch_size=2, process_index=0, process_count=2)


def test_overlapping_masks_need_sigmoid():
    made = examples(2)
    for example in made:
        mask = np.stack([example["seen"] == k for k in range(3)], -1).astype(np.uint8)
        mask[..., 2] |= mask[..., 1]  # every anode pixel is cathode as well
        example["mask"] = mask
    summary, _ = evaluate(predictor(activation="sigmoid"), made, batch_size=4)
    seen = np.concatenate([e["seen"].ravel() for e in made])
    assert summary["iou_pooled/anode"] == 1
    assert summary["iou_pooled/cathode"] == pytest.approx((seen == 2).sum() / (seen > 0).sum())
    with pytest.raises(UserError, match=r"need model\.activation 'sigmoid'"):
        evaluate(predictor(), made, batch_size=4)


def test_what_cannot_be_scored_is_refused():
    made = examples(1)
    made[0]["mask"][3, 3] = 3
    with pytest.raises(UserError, match="class id 3, the network has 3 classes"):
        evaluate(predictor(), made, batch_size=4)
    with pytest.raises(UserError, match="images of 1 channels for a network trained on 3"):
        evaluate(predictor(channels=3), made, batch_size=4)
    with pytest.raises(UserError, match="no image"):
        evaluate(predictor(), [], batch_size=4)


# Folders


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def mode(path):
    with Image.open(path) as picture:
        return picture.mode


def write_images(folder):
    """One image in many files: name -> ids."""
    made = {example["id"]: example for example in examples(5)}
    grey = {name: example["image"][..., 0] for name, example in made.items()}
    folder.mkdir()
    Image.fromarray(grey["x0"]).save(folder / "x0.png")
    Image.fromarray(grey["x1"].astype(np.uint16) * 257).save(folder / "x1.tif")
    Image.fromarray(np.stack([grey["x2"]] * 3, -1)).save(folder / "x2.BMP")
    Image.fromarray(np.stack([grey["x3"]] * 3 + [255 - grey["x3"]], -1)).save(folder / "x3.png")
    Image.fromarray(np.full(SIZES[4], 200, np.uint8)).save(folder / "x4.jpg", quality=95)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image")
    return {name: example["seen"] for name, example in made.items()} | {"x4": np.full(SIZES[4], 2)}


def test_a_folder_becomes_ids_masks_and_overlays(tmp_path):
    truth, out = write_images(tmp_path / "images"), tmp_path / "out"
    info = predict_folder(predictor(), tmp_path / "images", out, batch_size=4)
    assert info["num_images"] == 5
    assert info["folders"] == [str(out / f) for f in ("ids", "masks/anode", "masks/cathode", "overlays")]
    for name, ids in truth.items():
        assert mode(out / "ids" / f"{name}.png") == "L"
        np.testing.assert_array_equal(read(out / "ids" / f"{name}.png"), ids)
        for k, kept in ((1, "anode"), (2, "cathode")):
            np.testing.assert_array_equal(
                np.asarray(Image.open(out / "masks" / kept / f"{name}.png")), (ids == k) * 255
            )
        assert mode(out / "overlays" / f"{name}.png") == "RGB"
    assert len(list(out.rglob("*.png"))) == 4 * 5
    # A second run does not replace the first by accident.
    with pytest.raises(UserError, match=r"x0.png exists.*--overwrite"):
        predict_folder(predictor(), tmp_path / "images", out)
    (out / "ids" / "x0.png").write_text("old")
    predict_folder(predictor(), tmp_path / "images", out, overwrite=True)
    np.testing.assert_array_equal(read(out / "ids" / "x0.png"), truth["x0"])


def test_sigmoid_masks_of_a_folder_may_overlap(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.array([[0, 145, 155, 100, 200]], np.uint8)).save(tmp_path / "images/a.png")

    class Wide(GreyLevels):
        @nn.compact
        def __call__(self, images, train=False):
            return (20 + super().__call__(images)[0],)  # within 60 grey levels: between two classes both are set

    network = Predictor(Wide(activation="sigmoid"), {}, NAMES, normalize="range", bucket=16)
    predict_folder(network, tmp_path / "images", tmp_path / "out")
    out = tmp_path / "out"
    assert read(out / "ids/a.png").tolist() == [[0, 1, 2, 1, 2]]
    assert read(out / "masks/anode/a.png").tolist() == [[0, 255, 255, 255, 0]]
    assert read(out / "masks/cathode/a.png").tolist() == [[0, 255, 255, 0, 255]]


def test_a_bad_folder_is_refused_before_anything_is_written(tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    with pytest.raises(UserError, match="no such folder"):
        predict_folder(predictor(), images, out)
    images.mkdir()
    with pytest.raises(UserError, match=r"has no image; looked for .png"):
        predict_folder(predictor(), images, out)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(images / "a.png")
    (images / "b.png").write_bytes(b"broken")
    (images / "c.tif").write_bytes(b"")
    with pytest.raises(UserError, match=r"b.png.*\(and 1 more files?\); nothing was written"):
        predict_folder(predictor(), images, out)
    (images / "b.png").unlink()
    (images / "c.tif").rename(images / "a.tif")
    with pytest.raises(UserError, match=r"would both be written as a\.png"):
        predict_folder(predictor(), images, out)
    assert not out.exists()
