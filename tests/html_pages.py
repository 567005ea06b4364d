"""A reader of reports, which refuses what is not nested, loads something or reaches out."""

import base64
import html.parser
import io

import pytest
from PIL import Image

VOID = {"meta", "img", "br", "hr"}
# What may load or run something, and what has no place in a document.
UNWANTED = {"script", "link", "iframe", "object", "embed", "base", "form", "svg", "video", "audio"}


class Page(html.parser.HTMLParser):
    """Read a page, and refuse what is not nested, or reaches out of it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.ids, self.targets = [], [], [], [], []
        self.tables, self.text, self.style = [], "", ""
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert set(self.targets) <= set(self.ids)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        assert tag not in UNWANTED
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert not attributes.keys() & {"srcset", "data", "action", "background", "poster"}
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "img":
            start, _, data = attributes.pop("src").partition(",")
            assert start == "data:image/png;base64"
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            image.load()
            assert (str(image.width), str(image.height)) == (
                attributes["width"],
                attributes["height"],
            )
            self.images.append((attributes["alt"], image))
            assert attributes["alt"]
        assert "src" not in attributes
        if "href" in attributes:
            assert attributes["href"].startswith("#")
            self.targets.append(attributes["href"][1:])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            assert tag == "td" or attributes["scope"]
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_decl(self, decl):
        assert decl == "DOCTYPE html"
        assert self.tags == []

    def handle_comment(self, data):
        pytest.fail("a comment")

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
        else:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def row(self, *start):
        """Find the only row that begins so, in the tables with a head."""
        (row,) = {
            tuple(row)
            for table in self.tables
            for row in table
            if tuple(row[: len(start)]) == start
        }
        return row[len(start) :]
