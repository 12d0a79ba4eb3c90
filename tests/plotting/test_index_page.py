"""The page that shows a folder of pictures."""

import html.parser
import math
import urllib.parse

from unet_jax.plotting.index_page import Picture, index_page, worst_first, write_index_page


class Reader(html.parser.HTMLParser):
    """Collects the links, pictures and captions of a page, and every tag."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.images, self.texts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append((attributes["src"], attributes["alt"]))

    def handle_data(self, data):
        self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_names_are_escaped_and_links_lead_to_the_files():
    """An id may have any character: its file has %2F for a slash, whose % is escaped in a link."""
    picture = Picture("overlays/a %2F<b>&'\".png", "a /<script>&", {"IoU a<b": 0.25, "none": math.nan})
    page = read(index_page("<i>title</i>", [picture], by="unet-jax eval"))
    assert not {"script", "i", "b"} & set(page.tags)
    (link,) = page.links
    assert urllib.parse.unquote(link) == picture.file
    assert page.images == [(link, picture.name)]
    assert "a /<script>&: IoU a<b 0.2500, none -" in page.texts
    assert "<i>title</i>" in page.texts
    assert not any(link.startswith(("/", "http", "file")) for link in page.links)


def test_the_worst_comes_first_and_what_has_no_score_last():
    pictures = [Picture(f"{score}.png", str(score), {"IoU": score}) for score in (0.5, math.nan, 0.0, 1.0)]
    assert [picture.name for picture in worst_first(pictures, "IoU")] == ["0.0", "0.5", "1.0", "nan"]


def test_a_page_is_replaced(tmp_path):
    for name in ("a", "b"):
        path = write_index_page(tmp_path, "title", [Picture(f"{name}.png", name)], by="unet-jax eval")
    assert read(path.read_text()).links == ["b.png"]
    assert list(tmp_path.iterdir()) == [path]
