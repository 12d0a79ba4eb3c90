"""Plans what a run will cost before a machine is rented: memory, time and scaling of its training step.

    unet-jax plan --config=default
    unet-jax plan --config=default --topology=v5e:2x2,v5p:2x2x1 --fit --out=plan.json
    unet-jax plan --config=battery_xray:FOLDER --channels=1 --classes=3 --topology=v6e:2x4

The training step of the config is compiled and not run: for the devices of this machine, or for TPUs that this machine
does not have (extra tpu; a large network takes minutes). The plan shows for each device: parameters, optimiser state,
activations, and peak memory compared with its capacity. It shows FLOPs and bytes per image, the time at the device's
peak rates (its roofline), and whether arithmetic or memory traffic takes longer. It shows bytes and time of the
all-reduces and the expected images/s, for TPUs also on 4 to 256 chips. The data cache keeps the costs of compiled
programs.

--fit searches for the largest batch that fits a device, to within 5 %; it compiles the step for several batches.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
flags.DEFINE_list(
    "topology", ["local"], "TPU topologies, e.g. v5e:2x2,v5p:2x2x1; or local: the devices of this machine.", FLAGS
)
flags.DEFINE_bool("fit", False, "Search for the largest batch that fits a device, to within 5 %.", FLAGS)
flags.DEFINE_float(
    "efficiency",
    0.5,
    "Fraction of the device's peak rates that a step reaches.",
    lower_bound=0.001,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "channels", 0, "Channels of an image. With --classes, no data are needed.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_integer("classes", 0, "Classes of a mask, background included.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_bool("overlapping", False, "With --classes: masks are one for each class and may overlap.", FLAGS)
flags.DEFINE_string("out", "", "Where to write the plan as JSON.", FLAGS)


def main() -> None:
    """Prints the plan of the config, and writes it."""
    # After the flags: --help needs no jax.
    from unet_jax.analysis.plan.environment import expect_no_tpu
    from unet_jax.experiment.sections import read_sections

    # Before JAX starts its devices.
    if "local" not in FLAGS.topology:
        expect_no_tpu()
    read_sections(FLAGS.config)

    from unet_jax.analysis.plan import plan, report
    from unet_jax.storage import json_file, paths
    from unet_jax.storage.write_errors import report_write_errors

    path = paths.expand(FLAGS.out, "--out") if FLAGS.out else None
    names = ("fit", "efficiency", "channels", "classes", "overlapping")
    plans = plan.create_plans(FLAGS.config, FLAGS.topology, **{name: getattr(FLAGS, name) for name in names})
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions().items())
    print(f"{versions}\n\n{report.text(plans)}")
    if path is not None:
        with report_write_errors():
            json_file.write(path, {"config": json_file.plain(FLAGS.config.to_dict()), **plan.to_json(plans)}, indent=1)
        print(f"\nwritten: {path}")


def run() -> None:
    """Runs the command `plan`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
