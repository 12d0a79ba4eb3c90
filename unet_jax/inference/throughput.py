"""Images per second of a prediction or an evaluation."""

import time


class ThroughputMeter:
    """Measures images per second; leaves batches out that compiled a program, unless there are no others."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.images = {True: 0, False: 0}
        self.seconds = {True: 0.0, False: 0.0}

    def tick(self, num_images: int, compiled: bool) -> None:
        """Counts a batch that is done.

        Args:
          num_images: in the batch.
          compiled: True if the batch ran a program that was compiled before, False if the program was compiled for it.
        """
        now = time.perf_counter()
        self.images[compiled] += num_images
        self.seconds[compiled] += now - self.last
        self.last = now

    def read(self) -> dict[str, float]:
        """Returns `seconds` since the start, and `images_per_s`."""
        kind = self.images[True] > 0
        rate = self.images[kind] / self.seconds[kind] if self.seconds[kind] else 0.0
        return {"seconds": self.last - self.start, "images_per_s": rate}
