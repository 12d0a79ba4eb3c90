"""Runs compared: groups and their names, estimates and tests beside plain NumPy, the gap, and what is refused.

The runs are made up: a config, a checkpoint of one number, and files of pixel counts as an evaluation leaves them.
"""

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
from PIL import Image

from configs import default
from unet_jax import models
from unet_jax.analysis.compare import comparison, estimate, pictures, report, runs, scores
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.evaluation import bootstrap
from unet_jax.experiment.build import create_dataset, create_module
from unet_jax.runs import workdir as folder

ROOT = Path(__file__).parents[2]
STEP, LATER = 3, 6  # the best checkpoint, and the latest
NAMES = ("background", "anode", "cathode")
SPLITS = {"train": 8, "val": 6}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "checkpoints"
    with Checkpointer(path) as checkpointer:
        checkpointer.save(STEP, {"w": np.ones(1)}, 0.9)
        checkpointer.save(LATER, {"w": np.ones(1)}, 0.8)
    return path


@pytest.fixture
def make(checkpoints, tmp_path):
    """make(name, **values of the config by dotted key) -> workdir of a run, scored on train and val."""

    def make(name, fingerprint="ab" * 32, class_names=NAMES, **values):
        config = default.get_config()
        config.model.widths, config.train.num_steps = (2, 4), LATER
        values = {key.replace("__", "."): value for key, value in values.items()}
        if values.get("model.name") == "unet":
            config.model = default.unet()
            config.model.widths = (2, 4)
        config.update_from_flattened_dict(values)
        workdir = tmp_path / name
        shutil.copytree(checkpoints, workdir / "checkpoints")
        (workdir / "config.json").write_text(config.to_json())
        (workdir / "metrics.jsonl").write_text("")
        num_train = round(SPLITS["train"] * config.data.train_fraction)
        facts = {"fingerprint": fingerprint, "class_names": list(class_names), "channels": 1, "overlapping": False}
        facts |= {"splits": SPLITS | {"train": num_train}, "palette": [], "dtype": "uint8"}
        (workdir / "versions.json").write_text(json.dumps({"data": facts, "starts": []}))
        for split, num in facts["splits"].items():
            write_scores(workdir, split, some_counts(num, [*name.encode(), len(split)]))
        return workdir

    return make


def some_counts(num_images, seed):
    """tp, fp, fn [N, 3]; the last image lacks the last class."""
    rng = np.random.default_rng(seed)
    count = {name: rng.integers(10, 60, (num_images, 3)) for name in bootstrap.COUNTS}
    for values in count.values():
        values[-1, 2] = 0
    return count


def write_scores(workdir, split, count, ids=(), fingerprint="ab" * 32, **about):
    """WORKDIR/eval/SPLIT.json, the images in another order than that of their ids."""
    num = len(count["tp"])
    rows = [
        {f"{kind}/{name}": int(count[kind][i, k]) for kind in count for k, name in enumerate(NAMES)}
        | {"id": ids[i] if ids else f"{split} {i}", "index": i}
        for i in range(num)
    ]
    content = {"split": split, "step": STEP, "mode": "accurate", "level": 0, "fingerprint": fingerprint} | about
    (workdir / "eval").mkdir(exist_ok=True)
    path = workdir / "eval" / f"{split}.json"
    path.write_text(
        json.dumps({key: value for key, value in content.items() if value is not None} | {"images": rows[::-1]})
    )


def kept(workdir, split):
    """The counts [N, 2] of anode and cathode that a run was given."""
    num = json.loads((workdir / "versions.json").read_text())["data"]["splits"][split]
    count = some_counts(num, [*workdir.name.encode(), len(split)])
    return {kind: values[:, 1:] for kind, values in count.items()}


def plain(count, images):
    """Pooled and per-image IoU of some images, class by class."""
    pooled, per_image = [], []
    for k in range(2):
        tp, fp, fn = (count[kind][images, k] for kind in ("tp", "fp", "fn"))
        union = tp + fp + fn
        pooled.append(tp.sum() / union.sum() if union.sum() else np.nan)
        per_image.append((tp[union > 0] / union[union > 0]).mean() if union.sum() else np.nan)
    return {"pooled": np.nanmean(pooled), "image": np.nanmean(per_image)}


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
    dirs = [make(f"{name}{seed}", model__widths=widths, seed=seed)
            for name, widths in (("a", (2, 4)), ("b", (2, 3)), ("c", (2, 2))) for seed in (0, 1)]  # fmt: skip
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


def test_seeds_and_images_are_crossed():
    """Seeds that are alike add nothing to what is known of the images: the interval is that of one seed."""
    count = {kind: values[:, 1:] for kind, values in some_counts(20, 0).items()}
    one, three = (estimate.resample([count] * num, "val", "iou")["pooled"] for num in (1, 3))
    assert estimate.estimate(three)[2:4] == pytest.approx(estimate.estimate(one)[2:4])
    assert estimate.estimate(three).std == 0
    # And images that are alike say nothing of the seeds: what is left is the spread of these.
    same = [
        {"tp": np.full((20, 1), tp), "fp": np.full((20, 1), 100 - tp), "fn": np.zeros((20, 1), int)}
        for tp in (50, 60, 80)
    ]
    told = estimate.estimate(estimate.resample(same, "val", "iou")["image"])
    assert told[2:4] == pytest.approx((0.5, 0.8))
    assert told.std == pytest.approx(np.std([0.5, 0.6, 0.8], ddof=1))
    # The images of two splits vary apart, as many as there be in each.
    train, val = (estimate.resample([count], split, "iou")["pooled"] for split in ("train", "val"))
    assert estimate.estimate(train - val).low < 0 < estimate.estimate(train - val).high


def test_a_difference_of_the_same_seeds_is_that_of_each():
    values = np.random.default_rng(0).normal(size=(1 + bootstrap.RESAMPLES, 3)) * 0 + np.array([0.2, 0.5, 0.8])
    assert estimate.difference(values, values + 0.01, same_seeds=True) == pytest.approx((0.01,) * 3)
    mean, low, high = estimate.difference(values, values + 0.01, same_seeds=False)
    assert mean == pytest.approx(0.01)
    assert (low, high) == pytest.approx((-0.39, 0.41), abs=0.11)


def test_p_values_of_what_cannot_be_tested():
    assert np.isnan(estimate.p_value(np.array([0.5, np.nan]), np.array([0.6, 0.7])))
    assert estimate.p_value(np.full(9, 0.5), np.full(9, 0.5)) == 1
    first = np.random.default_rng(0).uniform(size=40)
    assert estimate.p_value(first, first + 0.01) == pytest.approx(2 / (estimate.PERMUTATIONS + 1))
    corrected = estimate.holm([0.03, np.nan, 0.01, 0.04])  # the largest is no smaller than the one before it
    assert corrected == pytest.approx([0.06, np.nan, 0.03, 0.06], nan_ok=True)


def test_names_tell_no_more_than_apart():
    pp = {"model.name": "unet_pp", "model.deep_supervision": True, "data.train_fraction": 1.0, "train.num_steps": 5}
    unet = {"model.name": "unet", "data.train_fraction": 1.0, "train.num_steps": 7}
    one_head = pp | {"model.deep_supervision": False, "train.num_steps": 6}
    assert runs.names([unet, one_head, pp]) == [
        "unet",
        "unet_pp deep_supervision=False",
        "unet_pp deep_supervision=True",
    ]
    assert runs.names([pp, pp | {"data.train_fraction": 0.25}]) == [
        "data.train_fraction=1.0",
        "data.train_fraction=0.25",
    ]
    assert runs.names([unet, pp]) == ["unet", "unet_pp"]
    assert runs.names([pp]) == ["unet_pp"]
    assert runs.names([pp, pp | {"model.encoder": "vgg16"}]) == ["unet_pp", "encoder=vgg16"]
    assert list(runs.differences([unet, one_head])) == ["model.name", "model.deep_supervision", "train.num_steps"]


def test_what_no_result_depends_on_makes_no_group(make):
    dirs = [make("a", seed=0), make("b", seed=1, data__cache_dir="/elsewhere", eval__num_pictures=3)]
    (group,) = runs.groups(runs.open_runs(dirs))
    assert group.name == "unet_pp"
    assert group.seeds == (0, 1)
    assert [run.train_fraction for run in group.runs] == [1.0, 1.0]


def test_where_a_run_ends_makes_a_group(make):
    dirs = [make("short", seed=0, train__patience=1), make("long", seed=1)]
    names = [group.name for group in runs.groups(runs.open_runs(dirs))]
    assert len(names) == 2
    assert any("patience" in name for name in names)


def test_gap_and_its_picture(make, tmp_path, capsys):
    dirs = [
        make(f"{name}-{share}-{seed}", model__name=name, data__train_fraction=share, seed=seed)
        for name in ("unet", "unet_pp") for share in (1.0, 0.5) for seed in (0, 1)
    ]  # fmt: skip
    out = tmp_path / "out"
    result = comparison.compare(dirs, splits=["train", "val"], out=out)
    assert result["networks"] == {
        name: [f"{name} data.train_fraction=0.5", f"{name} data.train_fraction=1.0"] for name in ("unet", "unet_pp")
    }
    group = result["groups"][1]
    assert (group["name"], group["num_train"]) == ("unet data.train_fraction=0.5", 4)
    parts = [[plain(kept(run, split), np.arange(num))["pooled"] for run in dirs[2:4]]
             for split, num in (("train", 4), ("val", 6))]  # fmt: skip
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


def test_splits_are_chosen_as_run_eval_does(make, capsys):
    opened = runs.open_runs([make("a")])
    assert scores.choose_splits(opened) == ("val",)
    assert "no test split; comparing on val" in capsys.readouterr().out
    assert scores.choose_splits(opened, ["val", "train", "val"]) == ("val", "train")
    opened[0].facts["splits"]["test"] = 2
    assert scores.choose_splits(opened) == ("test",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "are the same run: one config, seed 0; give it once"),
        ({"data__cache_dir": "/elsewhere"}, "are the same run"),
        ({"seed": 1, "fingerprint": "cd" * 32}, "are on other data .* the contents of the files"),
        ({"fingerprint": "cd" * 32, "data__seed": 5}, r"fingerprint abababababab there, cdcdcdcdcdcd here; data\.seed: 0 there, 5 here"),
        ({"seed": 1, "class_names": ("background", "anode", "stack")}, "classes of .*a: background, anode, cathode; of .*b: "),
        ({"eval__classes": ("anode",)}, r"reported classes \(eval.classes\) of"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared(make, values, message):
    if values.get("class_names"):
        values = values | {"eval__classes": ("anode",)}
    with pytest.raises(UserError, match=message):
        runs.open_runs([make("a"), make("b", **values)])


def test_what_is_no_run(make, tmp_path, capsys):
    with pytest.raises(UserError, match="no run to compare"):
        comparison.compare([])
    with pytest.raises(UserError, match=r"nothing has no config.json, so no run is there"):
        comparison.compare([tmp_path / "nothing"])
    run = make("a")
    with pytest.raises(UserError, match="'tset' is unknown; with images: train, val"):
        comparison.compare([run], splits=["val", "tset"])
    with pytest.raises(UserError, match="'test' has no images"):
        comparison.compare([run], splits=["test"])
    with pytest.raises(UserError, match="metric 'f1' is unknown; known: iou, dice"):
        comparison.compare([run], metric="f1")
    runs.open_runs([make("b", train__num_steps=9)])
    assert "b is not finished: step 6 of 9" in capsys.readouterr().out
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="checkpoints has no checkpoint; train first"):
        comparison.compare([run])


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"step": LATER}, "is not of the run's best checkpoint as it predicts: step 6, not 3"),
        ({"mode": "fast"}, "mode fast, not accurate"),
        ({"level": 1}, "level 1, not 0"),
        ({"step": None}, "is no file of scores"),
        ({"num": 5}, "has 5 images, val of the run has 6"),
        ({"counts": ("tp",)}, "has no pixel counts"),
    ],
)
def test_scores_that_are_of_no_use(make, about, message):
    run, count = make("a"), some_counts(about.pop("num", 6), 0)
    count = {kind: count[kind] for kind in about.pop("counts", bootstrap.COUNTS)}
    write_scores(run, "val", count, **about)
    before = (run / "eval/val.json").read_text()
    with pytest.raises(UserError, match=f"{message}.*--overwrite scores anew"):
        comparison.compare([run])
    assert (run / "eval/val.json").read_text() == before


def test_scores_of_other_images(make):
    dirs = [make("a"), make("b", seed=1)]
    write_scores(dirs[1], "val", some_counts(6, 0), ids=[f"val {i}" for i in (0, 1, 2, 3, 4, 9)])
    with pytest.raises(UserError, match=r"are scores of other images \(2 ids are in one alone, such as 'val 5'"):
        comparison.compare(dirs)
    write_scores(dirs[1], "val", some_counts(6, 0), fingerprint="cd" * 32)
    with pytest.raises(UserError, match=r"are scores on other data \(fingerprint abababababab, cdcdcdcdcdcd\)"):
        comparison.compare(dirs)


def test_missing_scores_are_made_of_the_whole_images_trained_on(tmp_path, cache_dir, capsys):
    """A network of zeros, whose every pixel is background: what it misses of a class is all that an image has of it."""
    config = default.get_config()
    config.model = default.unet()
    config.model.widths, config.data.train_fraction, config.train.num_steps = (2, 2), 0.5, STEP
    config.data.update(
        {"patch": (16, 16), "size": (32, 40), "cache_dir": cache_dir, "num_train": 6, "num_val": 2, "num_test": 1}
    )
    config.eval.num_pictures = 1
    dataset, workdir = create_dataset(config), tmp_path / "run"
    folder.open_workdir(workdir, config, dataset, config.train.num_steps)
    module = create_module(config, dataset.class_names)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16, 16, 1), "float32"))
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        checkpointer.save(STEP, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes)), 0.5)
    comparison.compare([workdir], splits=["train"])
    assert "scoring 1 of 1: run, train" in capsys.readouterr().err
    content = json.loads((workdir / "eval/train.json").read_text())
    source = dataset.source("train")
    assert len(content["images"]) == len(source) == 3
    for row, example in zip(content["images"], source, strict=False):
        assert row["id"] == example["id"]
        assert [row[f"fn/{name}"] for name in NAMES] == [0, *((example["mask"] == k).sum() for k in (1, 2))]
    assert content["fingerprint"] == dataset.fingerprint
    assert (workdir / "eval/train/best.png").exists()

    comparison.compare([workdir], splits=["train"])  # there now
    assert "scoring" not in capsys.readouterr().err
    content["step"] = 99
    (workdir / "eval/train.json").write_text(json.dumps(content))
    comparison.compare([workdir], splits=["train"], overwrite=True)
    assert json.loads((workdir / "eval/train.json").read_text())["step"] == STEP
    facts = json.loads((workdir / "versions.json").read_text())
    facts["data"]["fingerprint"] = "ab" * 32
    (workdir / "versions.json").write_text(json.dumps(facts))
    with pytest.raises(
        UserError, match=r"was trained on are not there any more .* run_eval.py --split=val --root=FOLDER"
    ):
        comparison.compare([workdir], splits=["val"])


def test_report_says_what_is_not_there():
    told = {"mean": 0.5, "std": float("nan"), "low": 0.4, "high": 0.6, "by_seed": (0.5,)}
    assert report._score(told) == "0.5000 ± -      [0.4000, 0.6000]"


def call(*arguments):
    command = [sys.executable, "-m", "unet_jax.analysis.compare", *map(str, arguments)]
    env = os.environ | {"PYTHONWARNINGS": ""}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


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
