"""Turns images into masks with a trained network: one that the package ships, or that of a run.

    unet-jax predict --model=electrodes scan.png --out=masks
    unet-jax predict --model=runs/battery scans/ more/scan_7.tif --out=masks --mode=fast
    unet-jax predict --model=runs/a --model=runs/b scans/ --out=masks --views=flips --uncertainty
    unet-jax predict --model=runs/battery --recursive scans/ --out=masks --shard=$SLURM_ARRAY_TASK_ID/8

IMAGE is an image file, a folder of them, or a pattern such as 'scans/*_top.png', on the local disk or in a bucket. The suffix
decides what an image is (docs/reference/files.md). A folder's other files are named and skipped; --recursive
takes the images of its subfolders. --model is the folder of a run, or the name of a shipped network. A name with a slash, and
that of an existing folder, is a folder. OUT gets for each image a PNG of class ids (ids/), a mask of 0 and 255 for each
reported class (masks/CLASS/), and an overlay (overlays/), or what --save says; OUT/index.html shows the overlays. OUT must not
hold the images or lie in a folder of them, must not be a run or a data folder with images/, and must not hold results of
another network, checkpoint or other options.

The same command goes on where it was interrupted: it predicts the images whose results are missing.

Status: 2 for bad input, with one line that says what; then nothing is written.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "model",
    None,
    "A shipped network by its name, or the folder of a run. Given several times: the mean of the networks' probabilities.",
    FLAGS,
    required=True,
)
flags.DEFINE_string("out", None, "Folder of the masks; made if it does not exist.", FLAGS, required=True)
cli.define_network(FLAGS)
cli.define_views(FLAGS)
cli.define_results(FLAGS)


def main(*images: str) -> None:
    """Predicts the image files and folders `images`, and prints what was written."""
    results, chosen = cli.result_options(FLAGS), cli.network_options(FLAGS) | cli.view_options(FLAGS)
    # After the flags: --help needs no jax.
    from unet_jax.runs import predict

    predict.predict_images(FLAGS.model, images, FLAGS.out, **results, **chosen)


def run() -> None:
    """Runs the command `predict`."""
    cli.run(main, __doc__, FLAGS, arguments=("IMAGE...",))


if __name__ == "__main__":
    run()
