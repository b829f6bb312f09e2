"""What every page of a report keeps to."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Page(HTMLParser):
    """Fails on tags that are not closed; keeps what would show an attack or a leak."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def check_page(text: str) -> Page:
    """A well-formed page that runs no foreign script and loads nothing."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.counts["script"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    outside = [
        v for n, v in page.attributes if n in ("src", "href") and not v.startswith(("#", "data:"))
    ]
    assert outside == []
    anchors = {
        v[1:] for n, v in page.attributes if n in ("href", "xlink:href") and v.startswith("#")
    }
    assert anchors - set(page.ids) == set()
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"|http-equiv', "", text)
    return page
