"""Draws the training windows that a network will get, before and after augmentation, in pairs on one sheet.

    unet-jax preview --config=default --out=sheet.png
    unet-jax preview --config=nuclei:FOLDER --out=sheet.png --config.augment.rotate=180
    unet-jax preview --config=nuclei:FOLDER:nnunet --out=sheet.png

The windows are those of the run's steps from --step on, in their order, and their changes are those of the step: both
follow from the seed, the step and the window's place in the batch. Masks are outlined in the colours of the classes; pixels
that are not valid are greyed out. A window and its change are shown on the same grey scale, from black to white of the
window. With data.weight_map, the map of the changed window stands to the right: black for 0, white for 1.

Nothing is trained, and any --config.KEY flag works.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
flags.DEFINE_string("out", None, "The picture to write, a .png file.", FLAGS, required=True)
flags.DEFINE_integer("num", 16, "Windows on the sheet.", flag_values=FLAGS)
flags.DEFINE_integer("step", 0, "How many steps of the run to skip.", flag_values=FLAGS)
flags.DEFINE_integer("seed", None, "Replaces config.seed.", flag_values=FLAGS)


def main() -> None:
    """Draws the sheet that the flags describe.

    Raises:
      UserError: --num, --step or --out is not allowed.
    """
    # After the flags: --help needs no jax.
    from unet_jax.experiment.sections import check_root, read_sections
    from unet_jax.storage import paths

    config, out = FLAGS.config, paths.expand(FLAGS.out, "--out")
    for name, least, most in (("num", 1, 1000), ("step", 0, 2**31 - 1)):
        value = getattr(FLAGS, name)
        if not least <= value <= most:
            raise UserError(f"--{name}={value}: give {least} to {most}")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out={FLAGS.out}: the sheet is a PNG file; give a name that ends in .png")
    if FLAGS.seed is not None:
        config.seed = FLAGS.seed
    check_root(config, cli.config_file(FLAGS))
    read_sections(config)

    from unet_jax.analysis import preview

    preview.write_sheet(config, out, num=FLAGS.num, step=FLAGS.step)


def run() -> None:
    """Runs the command `preview`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
