"""The flags of several networks, of views and of the uncertainty: what the commands pass on."""

import copy

import pytest

from unet_jax.errors import UserError
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.programs import eval as eval_
from unet_jax.programs import predict as predict_
from unet_jax.runs import predict, score


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Returns a function that calls a command with flags, in a folder of two runs, and gives what is passed on."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    passed = []
    unset = {program: program.FLAGS for program in (eval_, predict_)}
    monkeypatch.setattr(score, "score_run", lambda *args, **options: passed.append((args, options)))
    monkeypatch.setattr(predict, "predict_images", lambda *args, **options: passed.append((args, options)))

    def call(program, *arguments):
        values = copy.deepcopy(unset[program])
        images = values(["program", *arguments])[1:]
        monkeypatch.setattr(program, "FLAGS", values)
        program.main(*images)
        return passed.pop()

    return call


def test_several_runs_are_scored_into_a_folder(run):
    given = ("--workdir=a", "--workdir=b", "--out=scores", "--views=flips", "--uncertainty", "--overwrite")
    args, options = run(eval_, *given)
    assert args == (["a", "b"],)
    assert (options["out"], options["views"], options["force_views"]) == ("scores", "flips", False)
    assert options["uncertainty"]
    assert options["overwrite"]
    # The scores of one run have their place.
    for flag in ("--out=scores", "--overwrite"):
        with pytest.raises(UserError, match=r"--images|--overwrite is for"):
            run(eval_, "--workdir=a", flag)
    with pytest.raises(UserError, match=r"--workdir=c has no config\.json"):
        run(eval_, "--workdir=a", "--workdir=c", "--out=scores")


def test_the_metrics_of_a_score(run):
    _, options = run(eval_, "--workdir=a")
    assert options["metrics"] == MetricChoice()
    assert "calibrated" not in options
    flags = ("--metrics=pixels,boundary", "--tolerance=0.1", "--pixel_size=0.05", "--unit=mm", "--calibrated")
    _, options = run(eval_, "--workdir=a", *flags)
    assert options["metrics"] == MetricChoice(("pixels", "boundary"), 0.1, (0.05, 0.05), "mm")
    assert options["calibrated"]
    _, options = run(eval_, "--workdir=a", "--metrics=boundary", "--tolerance=1", "--pixel_size=0.1,0.2", "--unit=um")
    assert options["metrics"].pixel_size == (0.1, 0.2)
    with pytest.raises(UserError, match=r"^--metrics=iou: .*pixels, instances"):
        run(eval_, "--workdir=a", "--metrics=pixels,iou")
    for size in ("1,2,3", "wide"):
        with pytest.raises(UserError, match=f"^--pixel_size={size}: "):
            run(eval_, "--workdir=a", "--metrics=boundary", "--tolerance=1", f"--pixel_size={size}", "--unit=mm")
    with pytest.raises(UserError, match="--tolerance is for scoring"):
        run(eval_, "--workdir=a", "--images=x", "--out=o", "--tolerance=1")


def test_several_networks_predict_together(run):
    args, options = run(predict_, "--model=a", "--model=electrodes", "x.png", "--out=o", "--uncertainty", "--save=ids")
    assert args == (["a", "electrodes"], ("x.png",), "o")
    assert options["save"] == ["ids", "uncertainty"]
    args, options = run(eval_, "--workdir=a", "--workdir=b", "--images=x", "--out=o", "--views=all", "--force_views")
    assert args == (["a", "b"], "x", "o")
    assert (options["views"], options["force_views"]) == ("all", True)
    with pytest.raises(UserError, match=r"^--force_views: no views are chosen"):
        run(predict_, "--model=a", "x.png", "--out=o", "--force_views")
