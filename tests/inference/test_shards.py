"""Parts of the images, predicted by processes that do not know of each other."""

import itertools

import pytest
from helpers.grey_images import contents, write_grey
from helpers.known_network import predictor

from unet_jax.errors import UserError
from unet_jax.inference import outputs
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.outputs import Choice
from unet_jax.plotting import index_page


@pytest.fixture
def images(tmp_path):
    """A folder of seven images of two sizes."""
    for number in range(7):
        write_grey(tmp_path / f"images/{number}.png", (8, 8 if number % 3 else 30), 30 * number)
    return tmp_path / "images"


@pytest.fixture
def whole(images, tmp_path):
    """What one process writes."""
    predict_folder(predictor(), images, tmp_path / "one/out")
    return contents(tmp_path / "one/out")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_the_parts_together_are_the_whole_in_any_order(images, whole, tmp_path, order):
    done = [predict_folder(predictor(), images, tmp_path / "out", shard=(part, 3)) for part in order]
    assert sorted(info["num_images"] for info in done) == [2, 2, 3]
    totals = [info["num_images"] for info in done]
    assert [info["num_there"] for info in done] == list(itertools.accumulate(totals))
    assert {info["num_all"] for info in done} == {7}
    assert contents(tmp_path / "out") == whole
    # One process, and another number of parts, find everything done.
    assert predict_folder(predictor(), images, tmp_path / "out")["num_images"] == 0
    assert predict_folder(predictor(), images, tmp_path / "out", shard=(9, 9))["num_images"] == 0
    assert contents(tmp_path / "out") == whole


def test_there_may_be_more_parts_than_images(images, whole, tmp_path):
    info = predict_folder(predictor(), images, tmp_path / "out", shard=(9, 9))
    assert (info["num_images"], info["num_there"]) == (0, 0)
    assert not (tmp_path / "out").exists()
    for part in range(1, 9):
        predict_folder(predictor(), images, tmp_path / "out", shard=(part, 9))
    assert contents(tmp_path / "out") == whole


def test_the_page_is_whole_when_two_parts_end_at_once(images, whole, tmp_path, monkeypatch):
    """The first part lists the overlays; then the second ends; then the first writes its page."""
    write, parts = index_page.write_index_page, []

    def write_late(*given, **options):
        if not parts:
            parts.append(2)
            predict_folder(predictor(), images, tmp_path / "out", shard=(2, 2))
        return write(*given, **options)

    monkeypatch.setattr(outputs.index_page, "write_index_page", write_late)
    predict_folder(predictor(), images, tmp_path / "out", shard=(1, 2))
    assert parts
    assert contents(tmp_path / "out") == whole


def test_parts_of_different_images_are_refused(images, tmp_path):
    predict_folder(predictor(), images, tmp_path / "out", shard=(1, 2))
    before = contents(tmp_path / "out")
    write_grey(images / "8.png")
    with pytest.raises(
        UserError, match=r"--shard: .*prediction\.json lists.*: 8 is new; give every part the same images"
    ):
        predict_folder(predictor(), images, tmp_path / "out", shard=(2, 2))
    (images / "8.png").unlink()
    write_grey(images / "3.png", (8, 9))
    with pytest.raises(UserError, match=r"3 has changed"):
        predict_folder(predictor(), images, tmp_path / "out", shard=(2, 2))
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("shard", "words"), [((0, 8), "numbered from 1, .*--array=1-8"), ((9, 8), "1/8 to 8/8"), ((1, 0), "1/1")]
)
def test_a_part_that_does_not_exist_is_refused(images, tmp_path, shard, words):
    with pytest.raises(UserError, match=f"--shard={shard[0]}/{shard[1]}: .*{words}"):
        predict_folder(predictor(), images, tmp_path / "out", shard=shard)
    assert not (tmp_path / "out").exists()


def test_a_part_does_not_replace_what_another_writes(images, tmp_path):
    with pytest.raises(UserError, match=r"--overwrite: .*leave --shard out"):
        predict_folder(predictor(), images, tmp_path / "out", shard=(1, 2), overwrite=True)
    with pytest.raises(UserError, match=r"--save=ids,mask: give some of ids, masks"):
        predict_folder(
            predictor(),
            images,
            tmp_path / "out",
            choice=Choice(
                (
                    "ids",
                    "mask",
                )
            ),
        )
