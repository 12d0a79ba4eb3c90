"""Runs compared: scores and pairs against plain NumPy, the gap, the program."""

import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.compared_runs import STEP, kept, plain, some_counts, write_scores
from PIL import Image
from scipy import stats

from unet_jax import models
from unet_jax.analysis.compare import comparison, estimate, pictures, report
from unet_jax.evaluation import jackknife

ROOT = Path(__file__).parents[2]


def test_each_group_equals_plain_numpy(make, tmp_path, capsys):
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
    for kind in ("pooled", "image"):
        estimated, values = one["scores"]["val"][kind], [scores[kind] for scores in by_seed]
        assert estimated["by_seed"] == pytest.approx(values)
        assert estimated["mean"] == pytest.approx(np.mean(values))
        assert estimated["std"] == pytest.approx(np.std(values, ddof=1))
        assert (estimated["low"], estimated["high"]) == pytest.approx(tuple(by_hand(counts, kind)))
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
    pooled = one["scores"]["val"]["pooled"]
    assert f"{pooled['mean']:.4f} ± {pooled['std']:.4f} [{pooled['low']:.4f}, {pooled['high']:.4f}]" in text
    assert "train - val" not in text
    assert "images: val 6" in text
    assert "Student's t on the logit scale" in text
    assert re.search(r"To tell 0\.01 of IoU with the spreads on val takes about [\d,]+ images; .* with one seed", text)


def by_hand(counts, kind):
    """Returns the interval over three seeds and six images: pseudo-values, two-way variances, Satterthwaite, logit."""
    score = np.array([plain(count, np.arange(6))[kind] for count in counts])
    without = np.array([[plain(count, np.delete(np.arange(6), u))[kind] for count in counts] for u in range(6)])
    values = 6 * score - 5 * without
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    seeds, images = values.mean(0).var(ddof=1) / 3, values.mean(1).var(ddof=1) / 6
    rest = (left**2).sum() / 10 / 18
    variance = max(seeds + images - rest, seeds, images)
    unions = np.array([sum(count.values()) for count in counts])
    sizes = unions if kind == "pooled" else unions > 0
    share = (sizes / sizes.sum(1, keepdims=True)).mean((0, 2))
    freedom = variance**2 / (seeds**2 / 2 + images**2 / (1 / (share**2).sum() - 1) + rest**2 / 10)
    mean = score.mean()
    reach = stats.t.ppf(0.975, freedom) * variance**0.5 / (mean * (1 - mean))
    ends = np.log(mean / (1 - mean)) + reach * np.array([-1, 1])
    return 1 / (1 + np.exp(-ends))


def test_pairs_equal_plain_numpy(make):
    dirs = [
        make(f"{name}{seed}", model__widths=widths, seed=seed)
        for name, widths in (("a", (2, 4)), ("b", (2, 3)), ("c", (2, 2)))
        for seed in (0, 1)
    ]
    # The last group has other seeds.
    shutil.rmtree(dirs.pop())
    result = comparison.compare(dirs, splits=["val"])
    assert [group["name"] for group in result["groups"]] == ["widths=(2,4)", "widths=(2,3)", "widths=(2,2)"]
    counts = [[kept(run, "val") for run in group] for group in (dirs[:2], dirs[2:4], dirs[4:])]
    images = []
    for of_group in counts:
        iou = [count["tp"] / np.maximum(count["tp"] + count["fp"] + count["fn"], 1) for count in of_group]
        # The last image has one class.
        images.append(np.mean([[*one[:-1].mean(1), one[-1, 0]] for one in iou], 0))

    expected = []
    for (first, second), pair in zip(itertools.combinations(range(3), 2), result["pairs"], strict=True):
        assert (pair["first"], pair["second"]) == tuple(result["groups"][i]["name"] for i in (first, second))
        assert pair["same_seeds"] == ((first, second) == (0, 1))
        means = [np.mean([plain(count, np.arange(6))["pooled"] for count in counts[i]]) for i in (first, second)]
        assert pair["pooled"]["difference"] == pytest.approx(means[1] - means[0])
        d = images[second] - images[first]
        # All sign changes.
        flipped = np.array([np.mean(d * signs) for signs in itertools.product((1, -1), repeat=6)])
        low, high = (flipped <= d.mean() + 1e-12).mean(), (flipped >= d.mean() - 1e-12).mean()
        assert pair["p"] == pytest.approx(2 * min(low, high))
        expected.append(pair["p"])
    # Of the pairs' images and seeds; the last pairs have one seed on one side.
    assert result["power"]["val"]["difference"] == 0.01
    assert result["power"]["val"]["images"] > 2
    order = np.argsort(expected)
    corrected = np.maximum.accumulate([min(expected[i] * (3 - place), 1) for place, i in enumerate(order)])
    assert [result["pairs"][i]["p_holm"] for i in order] == pytest.approx(corrected)


def test_images_of_one_group_are_one_unit(make, tmp_path, capsys):
    dirs = [make("a"), make("b", model__widths=(2, 3))]
    alone = comparison.compare(dirs)
    assert (alone["num_images"], alone["num_groups"]) == ({"val": [6]}, {"val": [6]})
    assert "group" not in capsys.readouterr().out.partition("Scores:")[2]

    # The other file is of an earlier version; the data are the same.
    fields = ("f", "g", "f", "h", "g", "f")
    written = some_counts(6, [*b"a", 3])
    write_scores(tmp_path / "a", "val", written, groups=fields)
    result, counts = comparison.compare(dirs), [kept(run, "val") for run in dirs]
    values = [jackknife.leave_one_out([count], "iou", fields) for count in counts]
    for place, of_run in enumerate(values):
        for kind in ("pooled", "image"):
            estimated = result["groups"][place]["scores"]["val"][kind]
            assert (estimated["low"], estimated["high"]) == pytest.approx(estimate.estimate(of_run[kind])[2:4])
    pair = result["pairs"][0]
    expected = estimate.difference(values[0]["image"], values[1]["image"], same_seeds=True)
    assert tuple(pair["image"].values()) == pytest.approx(expected)
    assert pair["image"]["low"] != pytest.approx(alone["pairs"][0]["image"]["low"])
    assert pair["p"] * 4 == pytest.approx(round(pair["p"] * 4))
    text = capsys.readouterr().out
    assert "images: val 6 in 3 groups." in text
    assert "the units of intervals and p are the groups" in text
    assert re.search(r"takes about [\d,]+ groups of images;", text)

    write_scores(tmp_path / "a", "val", written, groups=["f"] * 6)
    one = comparison.compare(dirs)
    assert np.isnan([one["groups"][0]["scores"]["val"]["image"]["low"], one["pairs"][0]["p"]]).all()
    assert one["power"] == {"val": None}
    assert "All images of val are one group, so val has no interval and no p." in capsys.readouterr().out


def test_gap_and_its_picture(make, tmp_path, capsys):
    dirs = [
        make(f"{name}-{fraction}-{seed}", model__name=name, data__train_fraction=fraction, seed=seed)
        for name in ("unet", "unet_pp")
        for fraction in (1.0, 0.5)
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
    assert group["gap"]["pooled"]["low"] < gaps.mean() < group["gap"]["pooled"]["high"]
    with (out / "compare.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[1]["gap/iou_pooled/mean"]) == pytest.approx(gaps.mean())
    text = capsys.readouterr().out
    assert f"{gaps.mean():.4f} ± {gaps.std(ddof=1):.4f}" in text
    assert "No test on train" in text
    on_train = [(pair["first"], pair["second"]) for pair in result["pairs"] if pair["split"] == "train"]
    assert on_train == [
        (f"unet data.train_fraction={fraction}", f"unet_pp data.train_fraction={fraction}") for fraction in (1.0, 0.5)
    ]

    lines = pictures.gap(result).axes[0].get_lines()
    means = [line for line in lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    # U-Net, the smaller fraction first.
    assert means[0].get_ydata() == pytest.approx([result["groups"][place]["gap"]["pooled"]["mean"] for place in (1, 0)])
    for name in ("compare.png", "gap.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200
    # With one fraction there is no such picture, and the old one is removed.
    comparison.compare(dirs[:2], splits=["train", "val"], out=out)
    assert not (out / "gap.png").exists()


def test_report_shows_a_dash_for_nan():
    estimated = {"mean": 0.5, "std": float("nan"), "low": 0.4, "high": 0.6, "by_seed": (0.5,)}
    assert report._score(estimated) == "0.5000 ± -      [0.4000, 0.6000]"


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
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: DIR ")
    done = call("--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in ("--splits", "--metric", "--out", "overwrite"))
