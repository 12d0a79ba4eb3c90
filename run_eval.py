"""Scores a trained run or predicts a folder of images; the same as `unet-jax eval`. Flags: `python run_eval.py --help`."""

from unet_jax.programs import eval

if __name__ == "__main__":
    eval.run()
