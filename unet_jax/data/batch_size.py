"""The number of images in a batch; imports nothing, so that prediction needs no library of data."""


def balanced_batch_size(num: int, batch_size: int, multiple: int = 1) -> int:
    """Returns the number of rows of a batch with which `num` images need the fewest batches.

    All batches then have the same shape and few empty rows. 9 images in batches of at most 8 give two batches of 5 rows:

    >>> balanced_batch_size(9, batch_size=8)
    5

    Args:
      num: number of images.
      batch_size: largest number of rows, if that is a multiple of `multiple`.
      multiple: the result is a multiple of this.
    """
    batches = -(-num // batch_size)
    return -(-num // (batches * multiple)) * multiple
