"""Nodes and skips of trained networks, replaced by means or compared."""

import csv
import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.skip_networks import NAMES, examples, graph, graph_of, predictor, trained
from PIL import Image

from unet_jax.analysis.certify.check import random_images
from unet_jax.analysis.skips import graph as graphs
from unet_jax.analysis.skips import replace, similarity, study
from unet_jax.analysis.skips.localise import Boundaries, localise
from unet_jax.errors import UserError
from unet_jax.evaluation import boundary
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.models.blocks import Block
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.runs import score
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


def maps(module, variables, images):
    """Returns the output of every submodule of the network, by name."""
    apply = jit_without_optimization(
        functools.partial(module.apply, capture_intermediates=True, mutable=["intermediates"])
    )
    _, state = apply(variables, images)
    return {name: calls["__call__"][0] for name, calls in state["intermediates"].items() if name != "__call__"}


def logits_of(predictor, images):
    return jit_without_optimization(predictor.module.apply)(predictor.variables, images)


def test_only_its_reader_sees_a_replaced_skip():
    """x^{0,2} computed by hand from a flat x^{0,0}; x^{0,1}, which reads x^{0,0} too, and its head are as they were."""
    module, variables = trained("unet_pp", widths=(2, 3, 4), deep_supervision=True)
    images, one = random_images(32, 1, number=2), predictor()
    whole = replace.replace_places(one, [place for skip in graph().skips for place in skip.places])
    (skip,) = (skip for skip in graph().skips if skip.name == "x_0_0 -> x_0_2")
    real = maps(module, variables, images)
    means = {replace.key(place): np.full(place.channels, 9.0, np.float32) for place in whole.module.places}
    means["x_0_2/in/2"] = np.array([0.5, -0.25], np.float32)
    for chosen in (None, means):
        flat = np.asarray(real["x_0_0"]).mean((1, 2), keepdims=True) if chosen is None else means["x_0_2/in/2"]
        sources = [real["up_0_2"], np.broadcast_to(flat, real["x_0_0"].shape), real["x_0_1"]]
        block = Block(2, "same", "none", (0.0, 0.0), np.float32)
        node = block.apply({"params": variables["params"]["x_0_2"]}, sources, False)
        head = variables["params"]["head_2"]
        expected = np.asarray(node) @ np.asarray(head["kernel"])[0, 0] + np.asarray(head["bias"]).reshape(1, 1, 1, -1)
        changed = replace.replacing(whole, skip.places, chosen)
        logits = logits_of(changed, images)
        np.testing.assert_allclose(logits[1], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(logits[0], real["head_1"], rtol=1e-5, atol=1e-5)
        assert np.abs(logits[1] - real["head_2"]).max() > 0.05
    np.testing.assert_allclose(logits_of(whole, images)[1], real["head_2"], rtol=1e-5, atol=1e-5)


def test_what_the_mean_of_the_set_and_of_the_image_leave():
    places = [place for node in graph().nodes for place in node.places if place.name in ("x_0_2", "x_0_1")]
    whole = replace.replace_places(predictor(mode="fast"), places)
    means = {replace.key(place): np.ones(place.channels, np.float32) for place in places}
    images = random_images(32, 1, number=2) * np.array([1, 3], np.float32).reshape(2, 1, 1, 1)
    for chosen, same in ((means, True), (None, False)):
        changed = replace.replacing(whole, places, chosen)
        (logits,) = logits_of(changed, images)
        # The position is lost.
        np.testing.assert_allclose(logits, logits[:, :1, :1] + np.zeros_like(logits), atol=1e-6)
        assert np.allclose(logits[0], logits[1], atol=1e-6) == same


def test_set_means_are_over_all_pixels_of_all_images():
    """Uses images of two padded sizes, so of unequal weight, and rows that only fill a batch up."""
    one, made = predictor(devices=2), examples(((32, 32), (20, 30), (32, 25), (60, 20)))
    places = (graphs.Place("x_1_0", "out", 0, 3), graphs.Place("x_0_2", "in", 2, 2))
    whole = replace.replace_places(one, places)
    module, variables = trained("unet_pp", widths=(2, 3, 4), deep_supervision=True)
    real = [maps(module, variables, one.prepare(example["image"])[None]) for example in made]
    pixels = [
        np.concatenate([np.asarray(r[name]).reshape(-1, r[name].shape[-1]) for r in real])
        for name in ("x_1_0", "x_0_0")
    ]
    for batch_size in (2, 3):
        means = replace.set_means(whole, made, batch_size)
        np.testing.assert_allclose(means["x_1_0/out/0"], pixels[0].mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(means["x_0_2/in/2"], pixels[1].mean(0), rtol=1e-4, atol=1e-5)


def test_every_score_is_an_evaluation_and_all_are_one_program(monkeypatch, capsys):
    one, made, reported, traced = predictor(mode="fast"), examples(), [], []
    apply = replace.Replaceable.apply
    monkeypatch.setattr(
        replace.Replaceable, "apply", lambda self, *args, **kw: traced.append(1) or apply(self, *args, **kw)
    )
    scores = localise(
        one,
        graph_of(one.network),
        made,
        means=("set", "image"),
        boundary_distance=0.05,
        batch_size=3,
        progress=lambda *done: reported.append(done),
    )
    assert len(scores) == 1 + 2 * (6 + 4 + 1)
    assert reported[-1] == (len(scores), len(scores))
    # The objects are blocks of 4 pixels, all boundary.
    assert "anode, cathode lie within 5 %" in capsys.readouterr().out
    assert len(traced) == 1
    summary, _ = evaluate(one, made, batch_size=3)
    base = scores[0].scores
    assert {name: base[f"iou/{name}"] for name in (*NAMES, "mean")} == {
        name: summary[f"iou_pooled/{name}"] for name in (*NAMES, "mean")
    }
    by_name = {(s.kind, s.name, s.mean): s for s in scores}
    # Its only reader in this mode: the node and its skip are one.
    node, skip = by_name["node", "x_0_1", "set"], by_name["skip", "x_0_1 -> x_0_2", "set"]
    assert node.scores == pytest.approx(skip.scores, abs=0.02)
    assert node.drops["iou/mean"] == pytest.approx(100 * (base["iou/mean"] - node.scores["iou/mean"]))
    assert any(score.scores != by_name[*key[:2], "image"].scores for key, score in by_name.items() if key[2] == "set")
    assert by_name["skips", "all skips", "set"].scores not in (base, skip.scores)


def test_boundary_iou_of_a_split_leaves_void_out():
    one, made = predictor(), examples()
    boundaries, inside = Boundaries(one, made, 0.05), {"tp": 0, "fp": 0, "fn": 0}
    predicted_masks = {}
    evaluate(
        one,
        made,
        batch_size=3,
        on_image=lambda name, *masks_and_ids: (
            predicted_masks.update({name: masks_and_ids[0]}) or boundaries.add(name, *masks_and_ids)
        ),
    )
    for example in made:
        known = example["mask"] != 255
        d = boundary.distance(*known.shape, 0.05)
        ids = np.where(known, example["mask"], 0)
        masks = np.stack([ids == k for k in range(3)], -1), predicted_masks[example["id"]]
        true, predicted = (boundary.inner_boundary(mask & known[..., None], d) for mask in masks)
        for name, value in boundary.counts(predicted, true).items():
            inside[name] = inside[name] + value
    iou = inside["tp"] / (inside["tp"] + inside["fp"] + inside["fn"])
    assert boundaries.summarize() == pytest.approx(
        {f"boundary_iou/{name}": iou[k] for k, name in enumerate(NAMES)} | {"boundary_iou/mean": iou[1:].mean()}
    )
    with pytest.raises(UserError, match="id 'x0'"):
        Boundaries(one, [made[0], made[0]], 0.05)


def test_similarity_is_of_the_maps_that_a_node_joins():
    one, made = predictor(devices=2), examples(((32, 32), (20, 30), (60, 20)))
    module, variables = trained("unet_pp", widths=(2, 3, 4), deep_supervision=True)
    pairs = similarity.compare_maps(one, graph(), made, batch_size=2)
    by_maps = {(pair.node, pair.a, pair.b): pair for pair in pairs}
    assert by_maps.keys() == {
        ("x_0_1", "U", "x_0_0"),
        ("x_0_2", "U", "x_0_0"),
        ("x_0_2", "U", "x_0_1"),
        ("x_0_2", "x_0_0", "x_0_1"),
        ("x_1_1", "U", "x_1_0"),
    }
    assert [by_maps["x_0_2", "U", f"x_0_{k}"].distance for k in (0, 1)] == [1, 0]
    real = [maps(module, variables, one.prepare(example["image"])[None]) for example in made]

    def centred(name):
        x = np.concatenate([np.asarray(r[name], np.float64).reshape(-1, r[name].shape[-1]) for r in real])
        return x - x.mean(0)

    for (node, *names), pair in by_maps.items():
        x, y = (centred(node.replace("x", "up") if name == "U" else name) for name in names)
        expected = (np.linalg.norm(y.T @ x) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
        assert pair.cka == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def runs(monkeypatch):
    """Runs by the names of their folders, in place of those on disk, and the images of each."""
    monkeypatch.setitem(ENCODERS, "small", functools.partial(ResNet, blocks=(1, 1), features=2))
    monkeypatch.setattr(study.graphs, "find", lambda module, variables, channels: graph_of(module))
    options = {"data": SimpleNamespace(cache_bytes=1 << 20), "eval": SimpleNamespace(batch_size=3, mode="accurate")}
    by_name = {
        "nested": (predictor(), examples()),
        "plain": (predictor("unet", widths=(2, 3, 4)), examples()),
        "other": (predictor("unet", widths=(2, 3, 4)), examples()[::-1]),
        "bare": (predictor("unet", widths=(3, 2), encoder="small"), examples()),
        "sums": (predictor("fcn", widths=(2,) * 6), examples()),
        "empty": (predictor(), []),
    }

    def open_run(workdir, **chosen):
        one, _ = by_name[workdir.name]
        return SimpleNamespace(config=SimpleNamespace(**options), step=7, predictor=one)

    def open_dataset(run, workdir, root=""):
        return SimpleNamespace(source=lambda split: by_name[workdir.name][1])

    monkeypatch.setattr(study, "open_run", open_run)
    monkeypatch.setattr(score, "open_dataset", open_dataset)
    return by_name


def test_several_runs(runs, tmp_path, capsys):
    result = study.study([tmp_path / "nested", tmp_path / "plain"], boundary_distance=0.04, out=tmp_path / "out")
    text = capsys.readouterr().out
    assert "nested: UNetPP" in text
    with (tmp_path / "out" / "skips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (1 + 6 + 4 + 1) + (1 + 5 + 2 + 1)
    (row,) = (row for row in rows if row["run"] == "plain" and row["name"] == "enc_1 -> dec_1")
    (scored,) = (one for one in result.runs[1].scores if one.name == "enc_1 -> dec_1")
    assert float(row["drop/boundary_iou/mean"]) == scored.drops["boundary_iou/mean"]
    assert (row["kind"], row["source"], row["reader"], row["mean"]) == ("skip", "enc_1", "dec_1", "set")
    assert f"{scored.drops['iou/mean']:.2f}" in text
    content = json.loads((tmp_path / "out" / "skips.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["nested", "plain"]
    with Image.open(tmp_path / "out" / "skips.png") as picture:
        assert picture.width > picture.height > 500

    result = study.study([tmp_path / "nested", tmp_path / "plain"], similarity=True)
    # The folder is that of the first run.
    with (tmp_path / "nested" / "skips" / "similarity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["cka"]) for row in rows] == [pair.cka for run in result.runs for pair in run.pairs]
    assert len(rows) == 5 + 2
    with Image.open(tmp_path / "nested" / "skips" / "similarity.png") as picture:
        assert min(picture.size) > 300
    assert "x_0_2     x_0_0 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("nested",), {"boundary_distance": 0.0}, "--boundary_distance=0: "),
        (("nested", "nested"), {}, "--workdir=.*nested "),
        (("bare",), {}, "--workdir=.*bare: .*UNet"),
        (("sums",), {"similarity": True}, "--workdir=.*sums: .*FCN"),
        (("empty",), {}, "--split=val: .*empty"),
        (("nested", "other"), {}, "--workdir=.*nested and --workdir=.*other .*images and masks of val"),
    ],
)
def test_runs_that_cannot_be_studied_are_refused(names, options, message, runs, tmp_path):
    with pytest.raises(UserError, match=message):
        study.study([tmp_path / name for name in names], **options)
    assert not list(tmp_path.iterdir())


def test_other_reported_classes_are_refused(runs, tmp_path):
    runs["plain"][0].report_classes = ("anode",)
    with pytest.raises(UserError, match=r"nested .*plain .*classes of val \(anode, cathode; anode\)"):
        study.study([tmp_path / "nested", tmp_path / "plain"])


def test_the_program_without_a_run(tmp_path):
    program = [sys.executable, "-m", "unet_jax.programs.skips", f"--workdir={tmp_path / 'none'}", "--mean=image"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.json" in done.stderr
