"""U-Net++ on the cats and dogs of Oxford-IIIT Pet, as TensorFlow Datasets prepares them.

    unet-jax train --config=pets --workdir=runs/pets

The set must have been prepared as ArrayRecord, once, where TensorFlow is installed:
python -c "import tensorflow_datasets as tfds; tfds.builder('oxford_iiit_pet', file_format='array_record').download_and_prepare()"

Its masks hold 1 pet, 2 background and 3 border (a band of some pixels where the outline is uncertain); here they are the
classes 1, 0 and 2, as is usual: all three are trained, and a score is the mean of pet and border.

Hardware: two CPU cores; time and score: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is where TFDS keeps its sets, "" for its default, as --config.data.data_dir=FOLDER sets it, or FOLDER:RECIPE."""
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.model.widths = (16, 32, 64, 128, 256)
    config.data = default.tfds("oxford_iiit_pet")
    config.data.update({"data_dir": folder, "id_key": "file_name", "patch": (160, 160)})
    config.data.update({"class_names": ("background", "pet", "border"), "mask_values": (2, 1, 3)})
    config.data.splits = {"train": "train[:90%]", "val": "train[90%:]", "test": "test"}
    if not recipe:
        config.augment.update({"flip": False, "quarter_turns": False})  # photographs have an up and a down
    config.train.update({"num_steps": 2000, "eval_every": 500})
    config.eval.classes = ("pet", "border")
    return config
