"""Says whether the images of val can choose the best of a run's checkpoints."""

from unet_jax.data.dataset import ExampleSource
from unet_jax.experiment.build import Experiment, channel_names
from unet_jax.segmentation import truth_masks


def val_can_choose(parts: Experiment, source: ExampleSource) -> bool:
    """Returns True if an image of val has a pixel of a class that is scored.

    Without one, every score is 0 or NaN: NaN where nothing is predicted, which is right there, and 0 otherwise. A network
    that has learnt nothing may have either. Reads images until the first one with such a pixel.

    Args:
      parts: the parts of the experiment.
      source: the examples of val.
    """
    names = channel_names(parts.module, parts.dataset.class_names)
    channels = [names.index(name) for name in parts.report_classes]
    masks = (source[index]["mask"] for index in range(len(source)))
    return any(truth_masks(mask[None], len(names))[..., channels].any() for mask in masks)


def describe_no_choice(parts: Experiment) -> str:
    """Returns the line that says what a run does whose val cannot choose."""
    return (
        f"note: val has no pixel of the classes that are scored ({', '.join(parts.report_classes)}), so it cannot choose a "
        "checkpoint: the last one is kept as the best, and neither train.patience nor the schedule plateau follows the score. "
        "Put images that show these classes into val, or set eval.classes"
    )
