"""Makes images of different sizes whose pixel values give their positions."""

import numpy as np

SIZES = [(20, 30), (8, 40), (33, 17), (64, 64), (5, 6), (16, 16), (1, 9)]


class Images:
    """Holds seven images of different sizes. A pixel's value gives its image and position, and determines its class."""

    def __init__(self, num_channels=1, overlapping=False, void=False):
        self.num_channels, self.overlapping, self.void, self.reads = num_channels, overlapping, void, []

    def __len__(self):
        return len(SIZES)

    def __getitem__(self, index):
        self.reads.append(index)
        h, w = SIZES[index]
        image = (np.arange(h * w).reshape(h, w, 1) + 5000 * index + np.arange(self.num_channels)).astype(np.uint16)
        mask = class_of(image[..., 0])
        if self.overlapping:
            mask = np.stack([mask == 0, mask > 0, mask > 1], -1).astype(np.uint8)
        if self.void:
            mask[0, 0] = 255
        return {"image": image, "mask": mask, "id": str(index), "group": str(index)}


def class_of(value):
    """Returns the class of a pixel of this value."""
    return (value % 3).astype(np.uint8)


def values(batch):
    """Returns the pixel values from which a batch was made."""
    return np.rint(batch["image"][..., 0] * 65535).astype(int)


def assert_same_batch(a, b):
    """Checks that two batches have the same keys and arrays."""
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
