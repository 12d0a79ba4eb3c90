"""Masks of image files with the network of a run."""

import numpy as np
import pytest
from PIL import Image

from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.runs.predict import predict_images


def test_predict_images_with_fast_mode(trained, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index, size in enumerate(((40, 50), (33, 70))):
        image = render(5, index, size=size)["image"][..., 0]
        Image.fromarray(image).save(tmp_path / "in" / f"cell_{index}.png")
    predict_images(trained[0], tmp_path / "in", tmp_path / "out", mode="fast")
    ids = np.asarray(Image.open(tmp_path / "out/ids/cell_1.png"))
    cathode = np.asarray(Image.open(tmp_path / "out/masks/cathode/cell_1.png"))
    assert ids.shape == (33, 70)
    np.testing.assert_array_equal(cathode, (ids == 2) * np.uint8(255))
    assert (tmp_path / "out/overlays/cell_0.png").exists()
    assert "2 images" in capsys.readouterr().out
    predict_images(trained[0], tmp_path / "in", tmp_path / "out", mode="fast")
    assert capsys.readouterr().out.startswith("images whose results were there already: 2\n")
    for change, words in (
        ({"mode": "accurate"}, "mode 'fast', not 'accurate'"),
        ({"checkpoint": 3}, "step 6, not 3"),
    ):
        with pytest.raises(UserError, match=rf"holds results that were made .*{words}.*--overwrite"):
            predict_images(trained[0], tmp_path / "in", tmp_path / "out", **{"mode": "fast"} | change)


def test_files_and_folders_with_a_run_or_a_shipped_network(trained, tmp_path, capsys):
    for name in ("a/x.png", "a/y.png", "z.tif"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(render(5, len(name), size=(32, 32))["image"][..., 0]).save(path)
    images = [tmp_path / "z.tif", tmp_path / "a", tmp_path / "a/x.png"]
    ids = {}
    for model in (trained[0], "electrodes"):
        out = tmp_path / "out" / str(model == "electrodes")
        assert predict_images(model, images, out)["num_images"] == 3
        assert sorted(path.name for path in (out / "ids").iterdir()) == ["x.png", "y.png", "z.png"]
        ids[model] = np.asarray(Image.open(out / "ids/x.png"))
    assert (ids[trained[0]] != ids["electrodes"]).any()
    predict_images("electrodes", tmp_path / "z.tif", tmp_path / "one")
    assert "1 image with" in capsys.readouterr().out
