"""Plans what a run will cost before a machine is rented: memory, time and scaling of its training step.

    python -m unet_jax.analysis.plan --config=configs/default.py
    python -m unet_jax.analysis.plan --config=configs/default.py --topology=v5e:2x2,v5p:2x2x1 --fit --out=plan.json
    python -m unet_jax.analysis.plan --config=configs/battery_xray.py:FOLDER --channels=1 --classes=3 --topology=v6e:2x4

The training step of the config is compiled for the local devices, or for TPUs that are not there (extra tpu, on any
machine; a large network takes minutes), and not run. Per device: parameters, optimiser state, activations, and peak
memory compared with its capacity; FLOPs and bytes an image, the roofline, and which of the two binds; bytes and time of the
all-reduces; expected images/s; for TPUs the same on 4 to 256 chips. The data cache keeps what was compiled.

--fit compiles several batches: it searches for the largest batch that fits a device, to within 5 %.
"""

from absl import flags
from ml_collections import config_flags

from unet_jax.analysis.plan.environment import expect_no_tpu
from unet_jax.runtime import cli
from unet_jax.storage import paths


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config", None, "File with get_config(); --config.KEY=VALUE sets one of its keys.", lock_config=True
    )
    flags.mark_flag_as_required("config")
    flags.DEFINE_list(
        "topology", ["local"], "TPU topologies, e.g. v5e:2x2,v5p:2x2x1; or local: the devices of this machine."
    )
    flags.DEFINE_bool("fit", False, "Search for the largest batch that fits a device, to within 5 %.")
    flags.DEFINE_float(
        "efficiency", 0.5, "Fraction of the roofline that a step reaches.", lower_bound=0.001, upper_bound=1.0
    )
    flags.DEFINE_integer("channels", 0, "Channels of an image. With --classes, no data are needed.", lower_bound=0)
    flags.DEFINE_integer("classes", 0, "Classes of a mask, background included.", lower_bound=0)
    flags.DEFINE_bool("overlapping", False, "With --classes: masks are one for each class and may overlap.")
    flags.DEFINE_string("out", "", "Where to write the plan as JSON.")


def main() -> None:
    values = flags.FLAGS
    if "local" not in values.topology:
        expect_no_tpu()
    # After the flags: --help needs no jax.
    from unet_jax.analysis.plan import plan, report
    from unet_jax.storage import json_file
    from unet_jax.storage.write_errors import report_write_errors

    path = values.out and paths.expand(values.out, "--out")
    names = ("fit", "efficiency", "channels", "classes", "overlapping")
    plans = plan.create_plans(values.config, values.topology, **{name: getattr(values, name) for name in names})
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions().items())
    print(f"{versions}\n\n{report.text(plans)}")
    if path:
        with report_write_errors():
            json_file.write(path, {"config": json_file.plain(values.config.to_dict()), **plan.to_json(plans)}, indent=1)
        print(f"\nwritten: {path}")


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
