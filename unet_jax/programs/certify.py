"""Checks that the networks are the published ones, against numbers that do not come from their code.

    unet-jax certify
    unet-jax certify --config=default
    unet-jax certify --out=certificate.json
    unet-jax certify --against=torch

For U-Net, U-Net++, FCN and FC-DenseNet it checks parameter counts, sizes, which node reads which (found by raising each
node's output), the distance from which a pixel's logits read (found by raising rows of the image), initial weights, what
dropout drops, and logits compared with a plain NumPy network in float64. For U-Net and U-Net++ it also checks the losses. The last lines list how each option changes the published networks. With
--config, the first lines list which of these changes the network of that config has. --against=torch (extra torch) also
compares U-Net and U-Net++ with PyTorch in float64: logits, every gradient, and ten steps of Adam.

It runs on the CPU, even if there is an accelerator.

Status: 1 if a check fails, 2 for bad input.
"""

import sys

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS, required=False)
flags.DEFINE_enum("against", None, ["torch"], "Another library to compare with.", FLAGS)
flags.DEFINE_string("out", "", "Where to write the certificate as JSON.", FLAGS)


def main() -> None:
    """Prints the certificate, writes it, and exits with its status."""
    from unet_jax.experiment.sections import read_sections
    from unet_jax.storage import json_file, paths
    from unet_jax.storage.write_errors import report_write_errors

    path = paths.expand(FLAGS.out, "--out") if FLAGS.out else None
    if FLAGS.config is not None:
        read_sections(FLAGS.config)

    from unet_jax.analysis.certify.certificate import certify, heading

    # First, because the checks take a minute.
    print(f"{heading()}\n", flush=True)
    certificate = certify(FLAGS.config, against=FLAGS.against or "")
    print(certificate.text())
    if path is not None:
        with report_write_errors():
            json_file.write(path, certificate.to_json(), indent=1)
        print(f"\nwritten: {path}")
    sys.exit(0 if certificate.passed else 1)


def run() -> None:
    """Runs the command `certify`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
