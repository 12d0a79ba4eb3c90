"""How fast images are worked through."""

import time


class ThroughputMeter:
    """Images per second, without the batches that compiled where there are others."""

    def __init__(self):
        self.start = self.last = time.perf_counter()
        self.images = {True: 0, False: 0}
        self.seconds = {True: 0.0, False: 0.0}

    def tick(self, num_images: int, known: bool):
        now = time.perf_counter()
        self.images[known] += num_images
        self.seconds[known] += now - self.last
        self.last = now

    def read(self) -> dict[str, float]:
        kind = self.images[True] > 0
        rate = self.images[kind] / self.seconds[kind] if self.seconds[kind] else 0.0
        return {"seconds": self.last - self.start, "images_per_s": rate}
