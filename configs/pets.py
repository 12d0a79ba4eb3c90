"""Trains U-Net++ on the cats and dogs of Oxford-IIIT Pet, as TensorFlow Datasets prepares them.

    unet-jax train --config=pets --workdir=runs/pets

The set must have been prepared as ArrayRecord, once, where TensorFlow is installed:
python -c "import tensorflow_datasets as tfds; tfds.builder('oxford_iiit_pet', file_format='array_record').download_and_prepare()"

The masks hold 1 pet, 2 background and 3 border, a band of some pixels where the outline is uncertain. Here they are the
classes 1, 0 and 2, as is usual. All three are trained; the score is the mean of pet and border.

Hardware: two CPU cores; time and score: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder where TFDS keeps its sets, as --config.data.data_dir=FOLDER sets it ("" for the default of
        TFDS); or FOLDER:RECIPE, with a recipe of augmentation.
    """
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.model.widths = (16, 32, 64, 128, 256)
    config.data = default.tfds("oxford_iiit_pet")
    config.data.update({"data_dir": folder, "id_key": "file_name", "patch": (160, 160)})
    config.data.update({"class_names": ("background", "pet", "border"), "mask_values": (2, 1, 3)})
    config.data.splits = {"train": "train[:90%]", "val": "train[90%:]", "test": "test"}
    if not recipe:
        # Photographs have an up and a down.
        config.augment.update({"flip": False, "quarter_turns": False})
    config.train.update({"num_steps": 2000, "eval_every": 500})
    config.eval.classes = ("pet", "border")
    return config
