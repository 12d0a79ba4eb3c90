"""Runs compared: scores and pairs beside plain NumPy, the gap, the program."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.compared_runs import STEP, kept, plain
from PIL import Image

from unet_jax import models
from unet_jax.analysis.compare import comparison, estimate, pictures, report
from unet_jax.evaluation import bootstrap

ROOT = Path(__file__).parents[2]


def test_each_group_beside_plain_numpy(make, tmp_path, capsys):
    dirs = [make(f"one{seed}", seed=seed) for seed in (2, 0, 1)] + [make("other", model__deep_supervision=False)]
    result = comparison.compare(dirs, splits=["val"], out=tmp_path / "out")
    one, other = result["groups"]
    assert (one["name"], other["name"]) == ("deep_supervision=True", "deep_supervision=False")
    assert one["seeds"] == [0, 1, 2]
    assert one["steps"] == [STEP] * 3
    assert one["workdirs"] == [str(tmp_path / f"one{seed}") for seed in (0, 1, 2)]
    net = models.build("unet_pp", num_classes=3, widths=(2, 4), norm="batch")
    variables = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 1), "float32"))
    assert one["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))

    counts = [kept(Path(workdir), "val") for workdir in one["workdirs"]]
    by_seed = [plain(count, np.arange(6)) for count in counts]
    draws, seeds = bootstrap.draw(6, seed=1), bootstrap.draw(3, seed=3)
    for kind in ("pooled", "image"):
        told, values = one["scores"]["val"][kind], [scores[kind] for scores in by_seed]
        assert told["by_seed"] == pytest.approx(values)
        assert told["mean"] == pytest.approx(np.mean(values))
        assert told["std"] == pytest.approx(np.std(values, ddof=1))
        resampled = [
            np.mean([plain(counts[s], np.repeat(np.arange(6), images))[kind] for s in np.repeat(np.arange(3), own)])
            for images, own in zip(draws[:300], seeds[:300], strict=True)
        ]
        over = estimate._mean_over_seeds(estimate.resample(counts, "val", "iou")[kind])
        assert over[1:301] == pytest.approx(resampled)
        assert (told["low"], told["high"]) == pytest.approx(tuple(np.quantile(over[1:], (0.025, 0.975))))
        alone = other["scores"]["val"][kind]
        assert np.isnan(alone["std"])
        assert alone["low"] < alone["mean"] < alone["high"]

    with (tmp_path / "out/compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == [one["name"], other["name"]]
    assert float(rows[0]["val/iou_pooled/mean"]) == pytest.approx(one["scores"]["val"]["pooled"]["mean"])
    assert rows[1]["val/iou_image/std"] == ""
    assert json.loads((tmp_path / "out/compare.json").read_text())["groups"][0] == one
    assert not (tmp_path / "out/gap.png").exists()
    text = capsys.readouterr().out
    told = one["scores"]["val"]["pooled"]
    assert f"{told['mean']:.4f} ± {told['std']:.4f} [{told['low']:.4f}, {told['high']:.4f}]" in text
    assert "train - val" not in text


def test_pairs_beside_plain_numpy(make):
    dirs = [
        make(f"{name}{seed}", model__widths=widths, seed=seed)
        for name, widths in (("a", (2, 4)), ("b", (2, 3)), ("c", (2, 2)))
        for seed in (0, 1)
    ]
    shutil.rmtree(dirs.pop())  # the last group has other seeds
    result = comparison.compare(dirs, splits=["val"])
    assert [group["name"] for group in result["groups"]] == ["widths=(2,4)", "widths=(2,3)", "widths=(2,2)"]
    counts = [[kept(run, "val") for run in own] for own in (dirs[:2], dirs[2:4], dirs[4:])]
    images = []
    for own in counts:
        iou = [count["tp"] / np.maximum(count["tp"] + count["fp"] + count["fn"], 1) for count in own]
        images.append(np.mean([[*one[:-1].mean(1), one[-1, 0]] for one in iou], 0))  # the last image has one class

    expected = []
    for (first, second), pair in zip(itertools.combinations(range(3), 2), result["pairs"], strict=True):
        assert (pair["first"], pair["second"]) == tuple(result["groups"][i]["name"] for i in (first, second))
        assert pair["same_seeds"] == ((first, second) == (0, 1))
        means = [np.mean([plain(count, np.arange(6))["pooled"] for count in counts[i]]) for i in (first, second)]
        assert pair["pooled"]["difference"] == pytest.approx(means[1] - means[0])
        d = images[second] - images[first]
        flipped = np.array([np.mean(d * signs) for signs in itertools.product((1, -1), repeat=6)])  # all there are
        low, high = (flipped <= d.mean() + 1e-12).mean(), (flipped >= d.mean() - 1e-12).mean()
        assert pair["p"] == pytest.approx(2 * min(low, high))
        expected.append(pair["p"])
    order = np.argsort(expected)
    corrected = np.maximum.accumulate([min(expected[i] * (3 - place), 1) for place, i in enumerate(order)])
    assert [result["pairs"][i]["p_holm"] for i in order] == pytest.approx(corrected)


def test_gap_and_its_picture(make, tmp_path, capsys):
    dirs = [
        make(f"{name}-{share}-{seed}", model__name=name, data__train_fraction=share, seed=seed)
        for name in ("unet", "unet_pp")
        for share in (1.0, 0.5)
        for seed in (0, 1)
    ]
    out = tmp_path / "out"
    result = comparison.compare(dirs, splits=["train", "val"], out=out)
    assert result["networks"] == {
        name: [f"{name} data.train_fraction=0.5", f"{name} data.train_fraction=1.0"] for name in ("unet", "unet_pp")
    }
    group = result["groups"][1]
    assert (group["name"], group["num_train"]) == ("unet data.train_fraction=0.5", 4)
    parts = [
        [plain(kept(run, split), np.arange(num))["pooled"] for run in dirs[2:4]]
        for split, num in (("train", 4), ("val", 6))
    ]
    gaps = np.subtract(*parts)
    assert group["gap"]["pooled"]["by_seed"] == pytest.approx(gaps)
    assert group["gap"]["pooled"]["mean"] == pytest.approx(gaps.mean())
    assert group["gap"]["pooled"]["std"] == pytest.approx(gaps.std(ddof=1))
    ends = [group["scores"][split]["pooled"] for split in ("train", "val")]
    assert group["gap"]["pooled"]["low"] < ends[0]["low"] - ends[1]["low"]  # images of both vary, and apart
    with (out / "compare.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[1]["gap/iou_pooled/mean"]) == pytest.approx(gaps.mean())
    text = capsys.readouterr().out
    assert f"{gaps.mean():.4f} ± {gaps.std(ddof=1):.4f}" in text
    assert "No test on train between groups of other data.train_fraction" in text
    on_train = [(pair["first"], pair["second"]) for pair in result["pairs"] if pair["split"] == "train"]
    assert on_train == [
        (f"unet data.train_fraction={share}", f"unet_pp data.train_fraction={share}") for share in (1.0, 0.5)
    ]

    lines = pictures.gap(result).axes[0].get_lines()
    means = [line for line in lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    drawn = means[0].get_ydata()  # of unet, the smaller share first
    assert drawn == pytest.approx([result["groups"][place]["gap"]["pooled"]["mean"] for place in (1, 0)])
    for name in ("compare.png", "gap.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200
    comparison.compare(dirs[:2], splits=["train", "val"], out=out)  # one share: no such picture, nor the old one
    assert not (out / "gap.png").exists()


def test_report_says_what_is_not_there():
    told = {"mean": 0.5, "std": float("nan"), "low": 0.4, "high": 0.6, "by_seed": (0.5,)}
    assert report._score(told) == "0.5000 ± -      [0.4000, 0.6000]"


def call(*arguments):
    command = [sys.executable, "-m", "unet_jax.programs.compare", *map(str, arguments)]
    env = os.environ | {"PYTHONWARNINGS": ""}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_program_takes_folders_and_flags(make, tmp_path):
    done = call(make("a"), "--splits=train,val", "--metric=dice", make("b", seed=1), f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "Dice pooled" in done.stdout
    result = json.loads((tmp_path / "out/compare.json").read_text())
    assert result["groups"][0]["seeds"] == [0, 1]
    count = kept(tmp_path / "b", "val")
    dice = [2 * count["tp"][:, k].sum() / (2 * count["tp"] + count["fp"] + count["fn"])[:, k].sum() for k in range(2)]
    assert result["groups"][0]["scores"]["val"]["pooled"]["by_seed"][1] == pytest.approx(np.mean(dice))


def test_bad_input_ends_in_one_line():
    done = call("--splits=val")
    assert (done.returncode, done.stderr) == (2, "error: DIR is missing; give it without a flag, see --help\n")
    done = call("--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in ("--splits", "--metric", "--out", "overwrite"))
