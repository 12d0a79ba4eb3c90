"""The blocks of README.md and of the pages of docs/ are done, page by page, in one folder."""

import pytest
from helpers import documents
from helpers.documents import DOCS
from helpers.workplace import workplace

PAGES = [page for page in documents.pages() if any(block.is_run for block in documents.blocks(page))]
# What the blocks of a page print, among other things.
PRINTED = {
    "docs/how-to/gpu.md": ("cpu [CpuDevice(id=0)]", "going on from step 10", "\nequal\n", "\n[]\n", "\n[None]\n"),
    "docs/how-to/measure.md": ("[100 250] [11.5 28.8]", "class_1: "),
    "docs/how-to/plan.md": ("images/s",),
    "docs/how-to/views-and-ensembles.md": ("rank corr.", "12 members: {'entropy': 0."),
}
# Files that the blocks of a page write.
WRITTEN = {
    "docs/getting-started/first-run.md": ("runs/smoke/eval/test.json", "runs/smoke/eval/test-latest-fast-level1.json"),
    "docs/getting-started/own-images.md": (
        "runs/check/sheet.png",
        "runs/mine/eval/val.json",
        *(f"runs/mine/masks/{name}/cell 23.png" for name in ("ids", "overlays", "masks/class_1", "masks/class_2")),
    ),
    "docs/how-to/prune.md": ("runs/small/prune.json", "runs/small_masks/masks/class_1/cell 23.png"),
    "docs/how-to/views-and-ensembles.md": (
        "runs/xray_flips/masks/anode/xray.png",
        "runs/xray_sure/uncertainty/xray.tif",
        "runs/xray_sure/uncertainty.csv",
        "runs/mine/eval/test-uncertainty/uncertainty.csv",
    ),
    "docs/how-to/score.md": (
        "runs/mine/eval/test.csv",
        "runs/mine/eval/test-calibrated/reliability.png",
        "runs/calibrated/probabilities/cell 23.npz",
    ),
    "docs/how-to/measure.md": (
        *(f"runs/measured/{name}" for name in ("objects.csv", "images.csv", "labels/anode/xray.tif")),
        "runs/measured/outlines/xray.geojson",
        "runs/measured_truth/objects.csv",
        "runs/agreement/agreement.csv",
        "runs/agreement/truth/objects.csv",
    ),
    "docs/how-to/annotations.md": ("imported/masks/1.png", "imported/import.json"),
    "docs/how-to/compare.md": ("runs/compared/compare.csv", "runs/similarity/similarity.csv"),
}


@pytest.fixture(scope="module")
def place(cache_dir, tmp_path_factory):
    """A workplace in which runs/mine is trained: several pages use it."""
    with workplace(tmp_path_factory.mktemp("work"), cache_dir) as place:
        page = DOCS / "getting-started" / "own-images.md"
        (train, *_) = [block for block in documents.blocks(page) if "--workdir=runs/mine" in block.text]
        place.do(train)
        yield place


@pytest.mark.parametrize("page", PAGES, ids=documents.name_of)
def test_blocks_are_done(page, place):
    printed = "\n".join(place.do(block) for block in documents.blocks(page) if block.is_run)
    for text in PRINTED.get(documents.name_of(page), ()):
        assert text in f"\n{printed}\n"
    for file in WRITTEN.get(documents.name_of(page), ()):
        assert (place.folder / file).exists(), file
