"""Predicts a large image by MONAI's sliding window, with U-Net or U-Net++ in PyTorch: the peer of `large_image.py`.

    python3.11 -m venv PEER && PEER/bin/pip install torch==2.13.0 monai==1.6.0
    PEER/bin/python benchmarks/peers/sliding_window.py --model=unet_pp --size=2048 --roi=512 --overlap=0.25

It imports nothing of this project, so it runs in an environment of its own. The networks are those of the papers (Ronneberger
et al. 2015, Zhou et al. 2018), as `large_image.py` has them: one channel, three classes, widths 32 to 512, two 3x3
convolutions a node, each with BatchNorm and ReLU, 2x2 maximum, 2x2 transposed convolution, one head. Their weights are drawn
at random; no bias, scale, mean or variance is 0 or 1. The computation is float32.

The last line is JSON:

    median_s             seconds of one image, median over --repeats runs after one that is not counted
    work                 pixels of all windows divided by those of the image: forward passes of the image
    peak_memory_gb       most resident memory of the process, in 2^30 bytes, before the whole pass of --whole
    largest_difference   with --whole: largest difference of a probability to one forward pass of the whole image, else null
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
from monai.inferers import sliding_window_inference
from torch import nn

WIDTHS = (32, 64, 128, 256, 512)
CHANNELS, CLASSES = 1, 3


class Node(nn.Sequential):
    """Computes 3x3 convolution, BatchNorm and ReLU, twice."""

    def __init__(self, channels: int, width: int):
        layers: list[nn.Module] = []
        for source in (channels, width):
            layers += [
                nn.Conv2d(source, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


def contracting_path() -> nn.ModuleList:
    """Returns the nodes of the contracting path, shallow to deep."""
    return nn.ModuleList(Node(source, width) for source, width in zip((CHANNELS, *WIDTHS), WIDTHS, strict=False))


def run_contracting_path(nodes: nn.ModuleList, image: torch.Tensor) -> list[torch.Tensor]:
    """Returns the map of each node."""
    maps = [nodes[0](image)]
    for node in nodes[1:]:
        maps.append(node(nn.functional.max_pool2d(maps[-1], 2)))
    return maps


def up(level: int) -> nn.ConvTranspose2d:
    """Builds the up-convolution to a level."""
    return nn.ConvTranspose2d(WIDTHS[level + 1], WIDTHS[level], kernel_size=2, stride=2)


class UNet(nn.Module):
    """U-Net with one head."""

    def __init__(self) -> None:
        super().__init__()
        levels = range(len(WIDTHS) - 1)
        self.contracting = contracting_path()
        self.ups = nn.ModuleList(up(level) for level in levels)
        self.expanding = nn.ModuleList(Node(2 * WIDTHS[level], WIDTHS[level]) for level in levels)
        self.head = nn.Conv2d(WIDTHS[0], CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns logits `[B, K, H, W]` of images `[B, C, H, W]`."""
        skips = run_contracting_path(self.contracting, image)
        x = skips.pop()
        for level in reversed(range(len(self.ups))):
            x = self.expanding[level](torch.cat([self.ups[level](x), skips.pop()], dim=1))
        return self.head(x)


class UNetPP(nn.Module):
    """U-Net++ with the deepest head alone."""

    def __init__(self) -> None:
        super().__init__()
        depth = len(WIDTHS) - 1
        self.contracting = contracting_path()
        # Column j holds the nodes x^{i,j}, i = 0 .. depth - j.
        columns = [range(depth + 1 - j) for j in range(1, depth + 1)]
        self.ups = nn.ModuleList(nn.ModuleList(up(i) for i in rows) for rows in columns)
        self.nodes = nn.ModuleList(
            nn.ModuleList(Node((j + 1) * WIDTHS[i], WIDTHS[i]) for i in rows) for j, rows in enumerate(columns, 1)
        )
        self.head = nn.Conv2d(WIDTHS[0], CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns logits `[B, K, H, W]` of images `[B, C, H, W]`."""
        rows = [[x] for x in run_contracting_path(self.contracting, image)]
        for ups, nodes in zip(self.ups, self.nodes, strict=True):
            # A column has one row less than the column before it, which frees the maps of the deepest row.
            rows = [
                [*row, node(torch.cat([above(below[-1]), *row], dim=1))]
                for above, node, row, below in zip(ups, nodes, rows[:-1], rows[1:], strict=True)
            ]
        return self.head(rows[0][-1])


MODELS = {"unet": UNet, "unet_pp": UNetPP}


def create_network(name: str) -> nn.Module:
    """Builds a network for inference, with random weights."""
    torch.manual_seed(0)
    network = MODELS[name]().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for positive in (module.weight, module.running_var):
                    positive.uniform_(0.5, 1.5)
                for value in (module.bias, module.running_mean):
                    value.normal_(0, 0.3)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return network


def parse() -> argparse.Namespace:
    """Returns the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="unet_pp", help="The network.")
    parser.add_argument("--size", type=int, default=2048, help="Height and width of the image in pixels.")
    parser.add_argument("--roi", type=int, default=512, help="Height and width of the window in pixels.")
    parser.add_argument(
        "--overlap", type=float, default=0.25, help="Overlap of two windows, as a fraction of a window."
    )
    parser.add_argument("--blend", choices=["constant", "gaussian"], default="gaussian", help="Weights of a window.")
    parser.add_argument("--nchw", action="store_true", help="Channels first, instead of channels last.")
    parser.add_argument("--repeats", type=int, default=1, help="Runs that are timed.")
    parser.add_argument("--whole", action="store_true", help="Compare with one forward pass of the whole image.")
    return parser.parse_args()


def peak_memory_gb() -> float:
    """Returns the most resident memory of this process so far, in 2^30 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux counts the peak of the process that has started this one as `ru_maxrss`, too.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


@torch.inference_mode()
def main() -> None:
    """Predicts the image and prints the result."""
    flags = parse()
    layout = torch.contiguous_format if flags.nchw else torch.channels_last
    network = create_network(flags.model).to(memory_format=layout)
    image = torch.rand(1, CHANNELS, flags.size, flags.size, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=layout)
    windows = 0

    def probabilities(window: torch.Tensor) -> torch.Tensor:
        nonlocal windows
        windows += len(window)
        return network(window).softmax(dim=1)

    def predict() -> torch.Tensor:
        return sliding_window_inference(
            image, (flags.roi, flags.roi), 1, probabilities, overlap=flags.overlap, mode=flags.blend
        )

    predict()
    seconds = []
    for _ in range(flags.repeats):
        windows = 0
        begin = time.perf_counter()
        result = predict()
        seconds.append(time.perf_counter() - begin)
    line = {
        "peer": f"torch {torch.__version__}, MONAI",
        **vars(flags),
        "median_s": round(statistics.median(seconds), 4),
        "work": round(windows * flags.roi**2 / flags.size**2, 4),
        "peak_memory_gb": round(peak_memory_gb(), 3),
        "largest_difference": None,
    }
    if flags.whole:
        whole = network(image).softmax(dim=1)
        line["largest_difference"] = float((result - whole).abs().max())
    print(json.dumps(line))


if __name__ == "__main__":
    main()
