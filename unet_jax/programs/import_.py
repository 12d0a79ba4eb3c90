"""Turns annotations into a folder of images and masks that trains as it is.

    unet-jax import annotations.json --images=FOLDER --out=OUT
    unet-jax import SOURCE --out=OUT --labels="background,nucleus,cell" --overlaps=error

SOURCE is a file of annotations, or a folder of them; its format is recognised by content. OUT gets images/ (copies of the
files), masks/ (class ids), instances/ (numbers of objects), index.csv (splits, where SOURCE gives them), classes.txt and
import.json. It must not exist, or be empty, and is complete as soon as it exists. The last line is the command that trains on
OUT.

A pixel belongs to a polygon if its centre lies inside. The class `background` is id 0, `void` is 255, and the others are
1, 2, ... in the order of --labels, else that of the source, else sorted by name.

Status: 2 for bad input, with one line that says what.
"""

import shlex
from pathlib import Path

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "The folder to write.", FLAGS, required=True)
flags.DEFINE_string("format", "auto", "The format of SOURCE, where its content does not tell it, such as coco.", FLAGS)
flags.DEFINE_string("images", "", "Folder of the images, where they are not where SOURCE says.", FLAGS)
flags.DEFINE_list("labels", [], "The classes in the order of their ids; objects of another class are an error.", FLAGS)
flags.DEFINE_string(
    "overlaps",
    "later",
    "Pixels of several objects: later (the last has them) or error. Some formats give an order.",
    FLAGS,
)
flags.DEFINE_string(
    "unannotated", "error", "An image of which SOURCE says nothing: error, background, or skip to leave it out.", FLAGS
)
flags.DEFINE_string(
    "polygon_points",
    "corners",
    "centres: polygons go through the centres of the outermost pixels, as supervision and datumaro write them.",
    FLAGS,
)
flags.DEFINE_string(
    "no_area", "error", "Points, lines and empty segmentations: error, or skip to pass over them.", FLAGS
)
flags.DEFINE_string(
    "crowds", "keep", "COCO's crowds: keep numbers them as objects, leave_out only paints masks.", FLAGS
)
flags.DEFINE_string("label", "", "Class of objects that have none in SOURCE, and of all ROIs of ImageJ.", FLAGS)
flags.DEFINE_string("outline", "cell", "The outline of QuPath's cells: cell or nucleus.", FLAGS)


def main(source: str) -> None:
    """Imports SOURCE, and prints what was written.

    Raises:
      UserError: a flag is not allowed, or something is wrong with the source.
    """
    # After the flags: --help needs no OpenCV.
    from unet_jax.data.annotations import convert
    from unet_jax.data.annotations.options import Options
    from unet_jax.storage import paths

    def local(name: str, path: str) -> Path:
        if paths.in_bucket(path):
            raise UserError(f"{name} {path}: annotations are read and written on a local disk; copy them there")
        return Path(paths.expand(path, name))

    out = local("--out", FLAGS.out)
    images = str(local("--images", FLAGS.images)) if FLAGS.images else ""
    options = Options(
        images=images,
        polygon_points=FLAGS.polygon_points,
        no_area=FLAGS.no_area,
        label=FLAGS.label,
        outline=FLAGS.outline,
    )
    choice = convert.Choice(
        labels=tuple(FLAGS.labels), overlaps=FLAGS.overlaps, crowds=FLAGS.crowds, unannotated=FLAGS.unannotated
    )
    facts = convert.convert(local("SOURCE", source), out, format_=FLAGS.format, options=options, choice=choice)
    objects = ", ".join(f"{count} {label}" for label, count in facts["objects"].items())
    print(f"{out}: {facts['images']} images, objects: {objects or 'none'}")
    settings = [f"--config.data.{key}={tuple(value)}" for key, value in facts["data"].items()]
    command = ["unet-jax", "train", f"--config=image_folder:{out}", *settings, f"--workdir=runs/{out.name}"]
    print(" ".join(map(_quoted, command)))


def _quoted(argument: str) -> str:
    """Returns an argument as a shell takes it, in double quotes where it holds single ones."""
    plain = "'" in argument and not set(argument) & set('"$`\\!')
    return f'"{argument}"' if plain else shlex.quote(argument)


def run() -> None:
    """Runs the command `import`."""
    cli.run(main, __doc__, FLAGS, arguments=("SOURCE",))


if __name__ == "__main__":
    run()
