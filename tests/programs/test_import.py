"""The command `import`: what it prints, and that it trains."""

import ast
import shlex

import pytest
from helpers.annotations import SQUARE, Sources

from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.errors import UserError
from unet_jax.programs import commands, import_


@pytest.fixture
def run(tmp_path):
    """Runs the command on two LabelMe files; returns the folder it wrote."""
    sources = Sources(tmp_path)
    for name in "ab":
        sources.image(f"{name}.png")
        sources.write(f"{name}.json", {"imagePath": f"{name}.png", "shapes": [{"label": "it's", "points": SQUARE}]})

    def do(*arguments, out=sources.out):
        try:
            import_.FLAGS(["import", f"--out={out}", *arguments])
            import_.main(str(sources.root))
        finally:
            import_.FLAGS.unparse_flags()
            for name in import_.FLAGS:
                import_.FLAGS[name].unparse()
        return out

    return do


def test_it_prints_the_command_that_trains(run, capsys, tmp_path):
    out = run()
    first, command = capsys.readouterr().out.splitlines()
    assert first == f"{out}: 2 images, objects: 2 it's"
    program, train, config, names, workdir = shlex.split(command)
    assert (program, train, config, workdir) == (
        "unet-jax",
        "train",
        f"--config=image_folder:{out}",
        "--workdir=runs/out",
    )
    class_names = ast.literal_eval(names.removeprefix("--config.data.class_names="))
    dataset = load_image_folder(str(out), cache_dir=str(tmp_path / "cache"), class_names=class_names)
    assert dataset.class_names == ("background", "it's")
    assert sum(dataset.splits.values()) == 2


def test_flags_reach_the_import(run):
    with pytest.raises(UserError, match="which is not in --labels=cell, nucleus"):
        run("--labels=cell,nucleus")
    with pytest.raises(UserError, match="--polygon_points"):
        run("--polygon_points=x")
    with pytest.raises(UserError, match="is not in /none; correct --images"):
        run("--images=/none")


def test_buckets_are_refused(run):
    with pytest.raises(UserError, match="--out gs://bucket/x: annotations are read and written on a local disk"):
        run(out="gs://bucket/x")


def test_the_name_of_the_command_is_no_name_of_a_module():
    assert commands.module_name("import") == "unet_jax.programs.import_"
