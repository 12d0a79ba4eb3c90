"""Objects of image files with a network, of true masks, and the two compared."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from helpers.blobs import blobs
from helpers.grey_images import contents
from helpers.known_network import predictor
from PIL import Image

from unet_jax.data.datasets.image_files import AS_STORED
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.inference import prediction_loop, record
from unet_jax.inference.folder import predict_folder
from unet_jax.measurement.objects import Options
from unet_jax.runs import measure
from unet_jax.runs.measure import measure as measure_all


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def without_record(folder):
    return {name: content for name, content in contents(folder).items() if record.NAME not in name}


@pytest.fixture
def scans(tmp_path):
    """Images of blobs of the two classes that the known network finds, and their class ids."""
    for number, size in enumerate(((40, 50), (70, 30))):
        ids = np.where(blobs(number, size), 1, np.where(blobs(number + 9, size), 2, 0)).astype(np.uint8)
        for name, array in (("images", 100 * ids), ("masks", ids)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name / f"x{number}.png")
    return tmp_path


@pytest.fixture
def network(monkeypatch):
    """Lets the known network stand in for that of a run; returns a function that changes it."""

    def use(border_width=0.0, reading=AS_STORED, **fields):
        config = SimpleNamespace(eval=SimpleNamespace(batch_size=2))
        run = SimpleNamespace(config=config, facts={"palette": ()}, border_width=border_width)
        opened = SimpleNamespace(
            segmenter=predictor(**fields), runs=(run,), describe=lambda: "a network", reading=reading
        )
        monkeypatch.setattr(measure, "open_for_folder", lambda *_, **__: (opened, {"step": 3}))

    use()
    return use


def run(scans, out="out", truth="", models=("net",), **arguments):
    images = [scans / "images"] if models or arguments.pop("images", False) else ()
    measure_all(models, images, truth, scans / out, **arguments)
    return scans / out


@pytest.mark.usefixtures("network")
def test_objects_of_all_images(scans, capsys):
    out = run(scans)
    rows = table(out / "images.csv")
    for number, row in enumerate(rows):
        ids = np.asarray(Image.open(scans / "masks" / f"x{number}.png"))
        assert row["image"] == f"x{number}"
        assert [int(row[f"area_{name}"]) for name in ("anode", "cathode")] == [(ids == 1).sum(), (ids == 2).sum()]
    objects = table(out / "objects.csv")
    assert len(objects) == sum(int(row["count_anode"]) + int(row["count_cathode"]) for row in rows)
    # The intensities are those of the file.
    assert {row["intensity_mean"] for row in objects if row["class"] == "cathode"} == {"200.0"}
    assert "2 images with a network" in capsys.readouterr().out


def test_a_large_image_in_bands_gives_the_files_of_the_whole(scans, network, monkeypatch):
    whole = without_record(run(scans, "whole"))
    monkeypatch.setattr(prediction_loop, "LARGE", 100)
    network(memory=500_000)
    assert without_record(run(scans, "bands")) == whole


@pytest.mark.usefixtures("network")
def test_a_call_goes_on_and_never_mixes(scans, capsys):
    out = run(scans)
    before = contents(out)
    (out / "outlines" / "x1.geojson").unlink()
    (out / "objects.csv").unlink()
    run(scans)
    assert contents(out) == before
    assert "1 image with a network" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"holds results that were made with min_area 0, not 9; .*--overwrite"):
        run(scans, options=Options(min_area=9))
    assert contents(out) == before
    run(scans, options=Options(min_area=9), overwrite=True)
    assert min(int(row["area"]) for row in table(out / "objects.csv")) >= 9


def test_a_split_on_the_probability_and_one_that_is_too_large(scans, network):
    plain, split = run(scans), run(scans, "split", options=Options(split="probability"))
    assert without_record(split).keys() == without_record(plain).keys()
    network(memory=150_000)
    with pytest.raises(UserError, match=r"x\d\.png: --split: an image of .* is split as a whole"):
        run(scans, "small", options=Options(split="distance"))
    assert not (scans / "small").exists()


@pytest.mark.usefixtures("network")
def test_a_network_that_finds_the_truth_agrees_with_it(scans, capsys):
    out = run(scans, truth=scans / "masks")
    assert without_record(out / "truth").keys() <= without_record(out).keys()
    assert (out / "truth" / "objects.csv").read_bytes() == (out / "objects.csv").read_bytes()
    rows = table(out / "agreement.csv")
    assert {row["class"] for row in rows} == {"anode", "cathode"}
    for row in rows:
        assert row["num_true"] == row["num_predicted"] == row["num_matched"]
        assert [float(row[name]) for name in ("bias", "sd", "limit_low", "limit_high")] == [0, 0, 0, 0]
    assert {row["iou"] for row in table(out / "matches.csv")} == {"1.0"}
    assert "anode: " in capsys.readouterr().out


def test_stacks_and_channels_are_read_as_the_network_was_trained(tmp_path, network):
    ids = np.stack([np.where(blobs(number, (40, 50)), 1, 0).astype(np.uint8) for number in range(3)])
    for name, array in (("images", np.stack([ids, 100 * ids], -1)), ("masks", ids)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", array)
    network(reading=Reading("ZYXC", (1,)))
    out = run(tmp_path, truth=tmp_path / "masks")
    rows = table(out / "truth" / "objects.csv")
    assert rows == table(out / "objects.csv")
    assert {row["image"] for row in rows} == {"x_p000", "x_p001", "x_p002"}
    assert {row["intensity_mean"] for row in rows} == {"100.0"}


@pytest.mark.usefixtures("network")
def test_objects_that_are_larger_than_the_truth_have_a_bias(scans):
    ids = np.zeros((30, 30), np.uint8)
    ids[5:15, 5:15] = ids[20:26, 4:14] = 1
    Image.fromarray(100 * ids).save(scans / "images" / "x0.png")
    (scans / "images" / "x1.png").unlink()
    ids[14] = 0
    ids[20:22] = 0
    Image.fromarray(ids).save(scans / "masks" / "x0.png")
    rows = {row["column"]: row for row in table(run(scans, truth=scans / "masks") / "agreement.csv")}
    # 100 and 60 pixels instead of 90 and 40.
    assert (rows["area"]["bias"], rows["area"]["mean_true"]) == ("15.0", "65.0")
    assert float(rows["area"]["sd"]) == pytest.approx(np.std([10, 20], ddof=1))
    assert rows["area"]["num_matched"] == "2"


@pytest.mark.usefixtures("network")
def test_a_note_says_that_true_objects_are_not_split(scans, capsys):
    run(scans, truth=scans / "masks", options=Options(split="probability"))
    assert "note: true masks have no probabilities, so true objects are not split" in capsys.readouterr().out


def test_a_network_with_borders_tells_objects_apart(scans, network, monkeypatch):
    ids = np.zeros((30, 30), np.uint8)
    ids[5:15, 5:25] = 1
    Image.fromarray(ids).save(scans / "masks" / "x0.png")
    ids[5:15, 14:16] = 2
    Image.fromarray(100 * ids).save(scans / "images" / "x0.png")
    for folder in ("images", "masks"):
        (scans / folder / "x1.png").unlink()
    network(border_width=1.0)
    out = run(scans, truth=scans / "masks")
    rows = table(out / "objects.csv")
    assert [(row["class"], row["area"], row["bbox-1"], row["bbox-3"]) for row in rows] == [
        ("anode", "100", "5", "15"),
        ("anode", "100", "15", "25"),
    ]
    # The true masks have no border, so they are one object.
    assert [row["area"] for row in table(out / "truth" / "objects.csv")] == ["200"]
    before = without_record(out)
    monkeypatch.setattr(prediction_loop, "LARGE", 100)
    network(border_width=1.0, memory=500_000)
    out = run(scans, "bands", truth=scans / "masks")
    assert without_record(out) == before


def test_true_masks_alone(scans, capsys):
    arguments = {"truth": scans / "masks", "models": (), "class_names": ("background", "anode", "cathode")}
    out = run(scans, **arguments)
    assert "2 of 2 true masks measured" in capsys.readouterr().out
    assert "intensity_mean" not in table(out / "objects.csv")[0]
    assert set(contents(out)) >= {"labels/anode/x0.tif", "outlines/x0.geojson", "images.csv"}
    before = contents(out)
    (out / "labels" / "anode" / "x0.tif").unlink()
    run(scans, **arguments)
    assert contents(out) == before
    assert "1 of 2 true masks measured" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds results that were made"):
        run(scans, **arguments, options=Options(connectivity=1))
    with_images = run(scans, "intensities", **arguments, images=True)
    assert {row["intensity_mean"] for row in table(with_images / "objects.csv") if row["class"] == "anode"} == {"100.0"}


@pytest.mark.usefixtures("network")
def test_masks_that_predict_has_written_are_true_masks(scans):
    from unet_jax.inference.folder import predict_folder

    predict_folder(predictor(), scans / "images", scans / "predicted")
    out = run(scans, truth=scans / "predicted" / "masks")
    assert {float(row["bias"]) for row in table(out / "agreement.csv")} == {0}


def test_what_is_refused(scans, network):
    network()
    (scans / "masks" / "x1.png").unlink()
    with pytest.raises(UserError, match="has no mask of the image x1"):
        run(scans, truth=scans / "masks")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(scans / "masks" / "x1.png")
    with pytest.raises(UserError, match=r"x1\.png: has 9 x 9 pixels, its image 30 x 70"):
        run(scans, truth=scans / "masks")
    with pytest.raises(UserError, match="--split=probability: true masks have no probabilities"):
        run(scans, "t", truth=scans / "masks", models=(), options=Options(split="probability"))
    with pytest.raises(UserError, match="--shard: true masks are measured and compared in one part"):
        run(scans, "t", truth=scans / "masks", shard=(1, 2))
    tifffile.imwrite(scans / "images" / "x1.tif", np.zeros((9, 9), np.uint8), resolution=(1, 2), resolutionunit=3)
    (scans / "images" / "x1.png").unlink()
    with pytest.raises(UserError, match="pixels that are not square"):
        run(scans, "t")
    assert not (scans / "t").exists()


def test_a_comparison_goes_with_the_results_that_it_is_of(scans, network):
    out = run(scans, truth=scans / "masks")
    before = (out / "agreement.csv").read_bytes()
    run(scans)
    assert (out / "agreement.csv").read_bytes() == before
    run(scans, overwrite=True, options=Options(min_area=10))
    assert not (out / "agreement.csv").exists()
    assert not (out / "matches.csv").exists()


@pytest.mark.usefixtures("network")
def test_files_of_another_origin_stay(scans):
    for place, name in (("a", "objects.csv"), ("b", "images.csv"), ("c", "agreement.csv")):
        (scans / place).mkdir()
        (scans / place / name).write_text("mine")
        with pytest.raises(UserError, match=rf"{name} exists, and no prediction\.json says how it was made"):
            run(scans, place)
        assert contents(scans / place) == {name: b"mine"}
    run(scans, "a", overwrite=True)
    assert table(scans / "a" / "objects.csv")


@pytest.mark.usefixtures("network")
def test_masks_and_objects_have_different_folders(scans):
    predict_folder(predictor(), scans / "images", scans / "out")
    before = contents(scans / "out")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"out holds masks, .*write objects to another folder"):
            run(scans, overwrite=overwrite)
    assert contents(scans / "out") == before
