"""Where a network reads from is found from its operators; the certificate proves it (analysis/test_certify_halo.py)."""

from helpers.one_conv import OneConv

from unet_jax import models
from unet_jax.models.receptive_field import trace


def test_the_halo_of_published_networks():
    """The numbers of large-images.md are tested in documents/test_halo_table.py."""
    network = models.build("unet_pp", num_classes=2, widths=(1, 1, 1), deep_supervision=True)
    assert [network.at_level(level).halo for level in (1, 2, 0)] == [9, 23, 23]
    assert models.build("unet", num_classes=2, widths=(1, 1), norm="batch", dtype="bfloat16").halo == 9
    for norm in ("group", "instance"):
        assert models.build("unet", num_classes=2, widths=(2, 2), norm=norm).halo is None


def test_a_network_that_reads_the_whole_map_has_none():
    assert OneConv(num_classes=2).halo == 2
    assert OneConv(num_classes=2, after="mean").halo is None


def test_the_margin_suffices_for_an_aligned_part():
    """All that rows 0 .. multiple - 1 of the logits read, and at most one multiple more."""
    for upsample in ("transpose", "bilinear"):
        graph = trace(models.build("unet", num_classes=2, widths=(1, 1, 1), upsample=upsample))
        low, high = graph.reads(0, graph.multiple - 1)
        farthest = max(-low, high - graph.multiple + 1)
        assert farthest <= graph.margin < farthest + graph.multiple
        assert graph.margin < graph.halo + graph.multiple
