"""Scores of a finished run, and its masks of a folder of images."""

import collections
import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers.originals import write_isbi2012, write_tfds

import unet_jax
from unet_jax.configs import isbi2012, pets
from unet_jax.errors import UserError
from unet_jax.evaluation import evaluate
from unet_jax.experiment.build import create_dataset
from unet_jax.inference import forward, predictor, program
from unet_jax.plotting import panels
from unet_jax.runs import score
from unet_jax.runs.load import open_run


def test_score_run_on_val_and_on_other_devices(trained):
    # An earlier evaluation left these, of an image that was in val then.
    stale = [trained[0] / f"eval/val/{name}/gone.png" for name in ("ids", "masks/anode", "overlays")]
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    scores = score.score_run(trained[0], split="val", devices=jax.local_devices()[:1])
    rows = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    best = max((row for row in rows if row["split"] == "val"), key=lambda row: row["iou_pooled/mean"])
    assert scores["iou_pooled/mean"] == pytest.approx(best["iou_pooled/mean"], abs=1e-6)
    assert json.loads((trained[0] / "eval/val.json").read_text())["split"] == "val"
    assert not any(path.exists() for path in stale)
    assert {path.stem for path in stale[0].parent.iterdir()} == {path.stem for path in stale[1].parent.iterdir()}
    assert list(stale[2].parent.iterdir())


def test_an_image_is_predicted_and_drawn_once(trained, config, monkeypatch):
    """Each image is predicted once for scores, masks and pictures: three images on four devices, counted by id."""
    forward_passes, reads, drawings = collections.Counter(), collections.Counter(), collections.Counter()
    dataset, run = create_dataset(config), open_run(trained[0])
    source = dataset.source("test")
    examples = [source[index] for index in range(len(source))]
    ids = {run.predictor.prepare(example["image"]).tobytes(): example["id"] for example in examples}
    assert len(ids) == 3

    def count(images):
        # Rows that only fill up a batch are 0.
        forward_passes.update(ids[image.tobytes()] for image in np.asarray(images) if image.any())

    def counting_forward(module, mode, variables, batch, forward=forward.forward):
        jax.debug.callback(count, batch["image"])
        return forward(module, mode, variables, batch)

    class CountingSource:
        size = staticmethod(lambda index: source.size(index))

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            reads[source[index]["id"]] += 1
            return source[index]

    def counting_panels(image, truth, masks, valid, names, colours, caption, draw=panels.panels):
        drawings[caption.split("   ")[0]] += 1
        return draw(image, truth, masks, valid, names, colours, caption)

    for module in (predictor, evaluate):
        monkeypatch.setattr(module, "forward", counting_forward)
    monkeypatch.setattr(panels, "panels", counting_panels)
    program.shared_program.cache_clear()
    counted = dataclasses.replace(dataset, sources=dataset.sources | {"test": CountingSource()})
    score.score_run(trained[0], dataset=counted)
    jax.effects_barrier()
    program.shared_program.cache_clear()
    assert forward_passes == dict.fromkeys(ids.values(), 1)
    assert set(drawings.values()) == {1}
    # Objects are scored too, so each is read a second time; the first says whether there are instances.
    assert all(reads[id_] == 2 + (id_ == examples[0]["id"]) + drawings[id_] for id_ in ids.values())
    pictures = {path.stem for path in (trained[0] / "eval/test/overlays").iterdir()}
    assert pictures <= {path.stem for path in (trained[0] / "eval/test/masks/anode").iterdir()}
    assert (trained[0] / "eval/test/worst.png").exists()


def test_val_is_scored_where_there_is_no_test_split(trained, config, capsys):
    dataset = create_dataset(config)
    sources = {split: source for split, source in dataset.sources.items() if split != "test"}
    scores = score.score_run(trained[0], dataset=dataclasses.replace(dataset, sources=sources))
    assert scores["iou_pooled/mean"] == score.score_run(trained[0], split="val")["iou_pooled/mean"]
    assert "there is no test split; scoring val instead" in capsys.readouterr().out


def test_other_choices_have_names_of_their_own(trained, capsys):
    before = (trained[0] / "eval/test.json").read_text()
    score.score_run(trained[0], checkpoint="latest", mode="fast")
    # The mode of the run's config.
    score.score_run(trained[0], split="val", mode="accurate")
    assert json.loads((trained[0] / "eval/test-latest-fast.json").read_text())["mode"] == "fast"
    assert (trained[0] / "eval/test.json").read_text() == before
    assert not (trained[0] / "eval/val-accurate.json").exists()
    assert "eval/test-latest-fast.json" in capsys.readouterr().out


def test_a_mean_over_one_head_is_refused(trained, tmp_path):
    config = json.loads((trained[0] / "config.json").read_text())
    shutil.copytree(trained[0], tmp_path / "run")
    config["model"]["deep_supervision"] = False
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    for ask in (score.score_run, unet_jax.load):
        with pytest.raises(UserError, match=r"mode 'accurate'.*deep supervision.*'fast'"):
            ask(tmp_path / "run", mode="accurate")
    assert unet_jax.load(tmp_path / "run", mode="fast").mode == "fast"
    # The mode of the config, with one head.
    assert unet_jax.load(tmp_path / "run").mode == "accurate"


def test_the_data_may_have_moved(cache_dir, tmp_path, monkeypatch):
    write_isbi2012(tmp_path / "now")
    monkeypatch.chdir(tmp_path)
    for root, words in ((str(tmp_path / "before"), "before: "), ("before", rf"before: .*{tmp_path}\b")):
        config = isbi2012.get_config(root)
        config.data.cache_dir = cache_dir
        with pytest.raises(UserError, match=rf"^data\.root=\S*{words}.*--root"):
            create_dataset(config)
    (tmp_path / "before").mkdir()
    with pytest.raises(UserError, match=r"before.*train-volume"):
        create_dataset(config)
    run = SimpleNamespace(config=config, facts={"fingerprint": "", "class_names": ["interior", "membrane"]})
    assert score.open_dataset(run, tmp_path, str(tmp_path / "now")).splits["test"] == 6
    run.facts["dtype"] = "uint16"
    assert score.open_dataset(run, tmp_path, str(tmp_path / "now")).dtype == "uint8"
    config.data.normalize = "range"
    with pytest.raises(UserError, match=r"/now has 8-bit \(uint8\) .*16-bit \(uint16\) .*data\.normalize"):
        score.open_dataset(run, tmp_path, str(tmp_path / "now"))

    write_tfds(tmp_path / "tfds", {"train": 10, "test": 2}, name="oxford_iiit_pet")
    of_tfds = pets.get_config(str(tmp_path / "before"))
    of_tfds.data.cache_dir = cache_dir
    run = SimpleNamespace(config=of_tfds, facts={"fingerprint": "", "class_names": list(of_tfds.data.class_names)})
    assert score.open_dataset(run, tmp_path, str(tmp_path / "tfds")).splits["test"] == 2
