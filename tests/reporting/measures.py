"""What every report must be: well-formed, narrow enough, printable."""

import re
import unicodedata
from html.parser import HTMLParser

from chaosharness.reporting.story.legible import columns

VOID = {"meta", "wbr", "br", "link", "img", "input", "hr"}
SHAPES = {"circle", "path", "rect", "use"}


class Page(HTMLParser):
    """Reads a page strictly: every element that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text.replace("<wbr>", ""))  # nothing that can be read
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES, f"<{tag}/> closes itself in SVG only"
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def is_narrow(text: str, width: int = 80) -> bool:
    """Say whether no line is wider than that; commands are not broken: they are pasted."""
    lines = [one for one in text.split("\n") if not one.startswith(("Replay: ", "Pytest: "))]
    assert max(map(columns, lines)) <= width
    return True


def is_printable(text: str) -> bool:
    """Say whether nothing in it moves a cursor, turns a line around or hides."""
    hidden = [
        char
        for char in text
        if char != "\n" and (unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"))
    ]
    turned = re.findall("[\u202a-\u202e\u2066-\u2069\u200b\ufeff]", text)
    assert hidden + turned == []
    return True
