"""The allowed values of the options of the shipped data sets: their types and limits.

What an option means, and how it goes with the others, its data set says and checks. This file reads no data.
"""

from collections.abc import Mapping
from typing import Any

from unet_jax.checks import Domain, boolean, choice, is_number, mapping_of, number, pair_of, sequence_of, text, whole
from unet_jax.data.dataset import SPLITS
from unet_jax.data.nan_pixels import CHOICES as NAN_CHOICES
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

# The largest side of a synthetic X-ray in pixels, and the largest number of them in a split. A set of this size takes weeks.
MOST_PIXELS = 2**12
MOST_IMAGES = 10**6

COUNT = whole(0, MOST_IMAGES)
BITS = Domain(lambda value: whole(8, 16).contains(value) and value in (8, 16), "give 8 or 16")
PARAMETER = Domain(
    lambda value: is_number(value) or pair_of(number(), "numbers").contains(value),
    "give a number, or a range of two numbers, the smaller first",
)
ELECTRODES = {
    "size": sequence_of(whole(1, MOST_PIXELS), length=2),
    "bits": BITS,
    "seed": whole(0),
    "num_train": COUNT,
    "num_val": COUNT,
    "num_test": COUNT,
    "physics": mapping_of(PARAMETER),
}
CLASSES = {
    "class_names": sequence_of(text(filled=True)),
    "num_classes": whole(0, VOID_ID, why="0 counts the classes in the masks"),
    "mask_values": sequence_of(whole(0, 2**16 - 1)),
}
FRACTIONS = sequence_of(number(least=0, most=1), length=3)
FILES = {"root": text(), "split_file": text()}
DRAWN = {**FILES, "split_fractions": FRACTIONS}
# By the name of the data set, and then by that of the option.
DOMAINS: dict[str, dict[str, Domain]] = {
    "electrodes": ELECTRODES,
    "image_folder": {
        **CLASSES,
        **DRAWN,
        "masks_dir": text(filled=True),
        "masks": choice(("classes", "instances")),
        "axes": text(),
        "channels": sequence_of(whole(0)),
        "missing_chunks": choice(("error", "fill")),
        "one_mask": boolean(),
        "image_name": text(filled=True),
        "mask_name": text(filled=True),
        "instance_name": text(filled=True),
        "nan": choice(NAN_CHOICES),
        "palette": sequence_of(sequence_of(whole(0, 255), length=3)),
    },
    "isbi2012": FILES,
    "dsb2018": DRAWN,
    "tfds:NAME": {
        **CLASSES,
        "data_dir": text(),
        "image_key": text(filled=True),
        "mask_key": text(filled=True),
        "id_key": text(),
        "splits": mapping_of(text()),
    },
}
SPLIT = choice(SPLITS)


def check_values(row: str, options: Mapping[str, Any]) -> None:
    """Checks the types and the limits of options. An option without a domain is not checked.

    Args:
      row: the row of the data set in `registry.DATASETS`.
      options: the values by name.

    Raises:
      UserError: a value is not allowed; the line names it as a key of `config.data`.
    """
    for option, domain in DOMAINS.get(row, {}).items():
        if option in options:
            domain.check(f"data.{option}", options[option])
    if row == "tfds:NAME":
        for split in options.get("splits") or ():
            SPLIT.check("data.splits", split)
    if row == "electrodes" and sum(options.get(f"num_{split}", 1) for split in SPLITS) == 0:
        raise UserError(
            "data.num_train, data.num_val and data.num_test are 0; give at least one of them a number above 0"
        )
