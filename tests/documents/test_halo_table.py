"""The table of halos in large-images.md has the numbers of the networks."""

import re

from helpers.documents import DOCS

from unet_jax import models
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.receptive_field import trace

WINDOW = 1024
# Besides the networks that a row names by itself.
PUBLISHED = {
    "FCN-32s": ("fcn", {"stride": 32, "widths": (1,) * 6}),
    "FCN-8s": ("fcn", {"stride": 8, "widths": (1,) * 6}),
    "FC-DenseNet56": ("fc_densenet", {"variant": "56"}),
}


def network(row):
    """Builds the network of a row of the table."""
    if row in PUBLISHED:
        name, options = PUBLISHED[row]
        return models.build(name, num_classes=2, **options)
    depth = int(re.search(r"depth (\d)", row).group(1))
    encoder = (re.findall(r"`(\w+)`", row) or [""])[0]
    last = ENCODERS[encoder](parent=None).widths[depth] if encoder else 1
    upsample = "bilinear" if "bilinear" in row else "transpose"
    return models.build("unet", num_classes=2, widths=(1,) * depth + (last,), encoder=encoder, upsample=upsample)


def test_the_table_of_halos():
    page = (DOCS / "explanation/large-images.md").read_text()
    table = re.search(r"\| network \| halo .*\n\|[-|]+\n((?:\|.*\n)+)", page).group(1)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len(rows) == 14
    for row, *written in rows:
        graph = trace(network(row))
        side = WINDOW - 2 * graph.margin
        work = f"{(WINDOW / side) ** 2:.2f}" if side > 0 else "impossible"
        delay = graph.head_delay
        assert written == [str(graph.halo), str(graph.margin), str(delay), work], row
