"""Small data sets in the layout of their organisers, and the same pictures laid out for `image_folder`."""

from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SPLITS = Path(__file__).parents[2] / "configs" / "splits"


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_isbi2012(root, num_slices=30, size=(16, 20), seed=0):
    """Writes the two stacks into `root`, and the pictures by slice into `root/folder`; returns images and raw labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num_slices, *size)).astype(np.uint8)
    labels = (rng.random((num_slices, *size)) > 0.3).astype(np.uint8) * 255
    root.mkdir(parents=True, exist_ok=True)
    for name, stack in (("train-volume.tif", images), ("train-labels.tif", labels)):
        first, *others = map(Image.fromarray, stack)
        first.save(root / name, save_all=True, append_images=others)
    for index in range(num_slices):
        save(images[index], root / f"folder/images/{index:02}.png")
        save((labels[index] == 0).astype(np.uint8), root / f"folder/masks/{index:02}.png")
    return images, labels


def write_nuclei(root, images, nuclei):
    """Writes stage1_train into `root`, and the same pictures into `root/folder`, grey ones as grey.

    Args:
      root: the folder.
      images: `[H, W]` or `[H, W, 3]` by id.
      nuclei: bool `[N, H, W]` by id, in the order of their files' names.
    """
    for id_, image in images.items():
        rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
        save(np.concatenate([rgb, alpha], -1), root / f"stage1_train/{id_}/images/{id_}.png")
        instances = np.zeros(image.shape[:2], np.uint16)
        # The first is painted last.
        for number in range(len(nuclei[id_]), 0, -1):
            save(nuclei[id_][number - 1].astype(np.uint8) * 255, root / f"stage1_train/{id_}/masks/{number:03}.png")
            instances[nuclei[id_][number - 1]] = number
        save(image, root / f"folder/images/{id_}.png")
        save((instances > 0).astype(np.uint8), root / f"folder/masks/{id_}.png")
        save(instances, root / f"folder/instances/{id_}.png")


def write_tfds(
    data_dir, counts, name="tiny_pets", num_shards=1, channels=3, declared=0, dtype=np.uint8, values=(1, 2, 3), crop=0
):
    """Writes a TFDS set as ArrayRecord into `data_dir`; returns the folder of its files.

    Args:
      data_dir: the folder of prepared sets.
      counts: the number of examples by split.
      name: of the set.
      num_shards: the number of files of each split.
      channels: of every image, or a function from an example's place to its channels.
      declared: the channels that the set's features state; 0 for those of the images.
      dtype: of the images.
      values: of the masks.
      crop: the number of rows by which masks are shorter than images.
    """

    class TinyPets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.3")
        code_path = None

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, declared or channels), dtype=dtype),
                "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
                # Its bytes are no image.
                "other": tfds.features.Image(),
                "file_name": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in counts}

        def _generate_examples(self, split):
            for index in range(counts[split]):
                num = channels(index) if callable(channels) else channels
                image, mask = pet(split, index, num, dtype, values)
                order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[num]
                png = [cv2.imencode(".png", array)[1].tobytes() for array in (image[..., order], mask[crop:])]
                names = {"file_name": f"{split}_{index}.jpg", "label": index % 2}
                yield index, {"image": png[0], "segmentation_mask": png[1], "other": b"none", **names}

    TinyPets.name = name
    builder = TinyPets(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=num_shards))
    return Path(builder.data_path)


def pet(split, index, channels=3, dtype=np.uint8, values=(1, 2, 3)):
    """Draws the image `[H, W, C]` and the mask uint8 `[H, W]` of an example of `write_tfds`; its index sets the height."""
    rng = np.random.default_rng([index, len(split)])
    size = (20 + index, 24)
    image = rng.integers(0, np.iinfo(dtype).max + 1, (*size, channels)).astype(dtype)
    return image, rng.choice(values, size).astype(np.uint8)


def tiles(rng, rows, columns, side=160):
    """Draws a smooth random picture and cuts it into rows x columns tiles, uint8 `[side, side, 1]` each."""
    noise = rng.normal(size=(rows * side, columns * side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    picture = (128 + 50 * smooth / smooth.std() + rng.normal(size=noise.shape)).clip(0, 255).astype(np.uint8)
    cut = picture.reshape(rows, side, columns, side, 1).swapaxes(1, 2)
    return [cut[index] for index in np.ndindex(rows, columns)]


def examples(dataset, split):
    source = dataset.source(split)
    return [source[index] for index in range(len(source))]


def assert_same_examples(one, other, but=()):
    """Asserts that both data sets have the same splits and examples; the keys in `but` are not compared."""
    assert one.splits == other.splits
    assert (one.channels, one.dtype, len(one.class_names)) == (other.channels, other.dtype, len(other.class_names))
    for split in one.splits:
        for a, b in zip(examples(one, split), examples(other, split), strict=True):
            assert a["image"].shape[-1] == one.channels
            assert set(a) - set(but) == set(b) - set(but)
            for key in set(a) - set(but):
                np.testing.assert_array_equal(a[key], b[key])
                assert getattr(a[key], "dtype", None) == getattr(b[key], "dtype", None)
