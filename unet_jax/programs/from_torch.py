"""Converts torchvision's weights of an encoder into a file that a run can start from.

    unet-jax from-torch resnet34.safetensors --encoder=resnet34 --out=resnet34.npz
    unet-jax train --config=electrodes_resnet34 --workdir=runs/pretrained --config.model.encoder_weights=resnet34.npz

FILE is the state dict of torchvision's network as .safetensors, .pt, .pth or .npz. The classifier and the counts of batches
have no place in an encoder: they are left out, and the output lists them.

Status: 2 for bad input, such as an array that is missing, left over or of another shape; then nothing is written.
"""

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "encoder", None, "The network, by torchvision's name: resnet34, vgg16_bn, densenet121, ...", FLAGS, required=True
)
flags.DEFINE_string("out", None, "The file to write, .npz.", FLAGS, required=True)


def main(file: str) -> None:
    """Converts the weights in `file`.

    Raises:
      UserError: a flag is not allowed, or the weights do not fit the encoder.
    """
    # After the flags: --help needs no jax.
    from unet_jax.models.encoders import state_dict, torchvision, weights
    from unet_jax.models.encoders.registry import ENCODERS
    from unet_jax.storage import paths
    from unet_jax.storage.write_errors import report_write_errors

    name = FLAGS.encoder
    if name not in torchvision.NAMES:
        raise UserError(f"--encoder={name}: torchvision's are {', '.join(torchvision.NAMES)}; choose one of them.")
    out = paths.resolve_local(FLAGS.out, "--out")
    if out.suffix != ".npz" or out.exists():
        raise UserError(
            f"--out={FLAGS.out}: {'is there already' if out.exists() else 'does not end in .npz'}; give another file."
        )
    state = state_dict.read_state_dict(file)
    arrays, left_out = torchvision.convert_state_dict(ENCODERS[name](), state)
    with report_write_errors():
        weights.write_encoder_weights(out, name, arrays)
    numbers = sum(array.size for path, array in arrays.items() if path.startswith("params/"))
    print(f"{out}: {len(arrays)} arrays of {name}, {numbers:,} parameters")
    counts = [key for key in left_out if key.endswith("num_batches_tracked")]
    others = [key for key in left_out if key not in counts]
    print(f"left out: {', '.join(others) or 'no classifier'}; {len(counts)} num_batches_tracked")


def run() -> None:
    """Runs the command `from-torch`."""
    cli.run(main, __doc__, FLAGS, arguments=("FILE",))


if __name__ == "__main__":
    run()
