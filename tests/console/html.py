"""What every page must be: well formed, without a script, and without anything from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "link", "meta"}
FETCHED = {"href", "src", "srcset", "data", "poster", "action", "xlink:href"}


class Page(HTMLParser):
    """A page as read, if it is well formed: its text, its tags, and the addresses it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> says {names}"
        assert not any(name.startswith("on") for name in names)
        self.addresses += [value or "" for name, value in attrs if name in FETCHED]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words += data


def check(text: str) -> Page:
    """The page, if it is what every page must be."""
    page = Page(text)
    assert "script" not in page.tags
    assert all(a.startswith(("/console", "#", "?", "data:,")) for a in page.addresses)
    assert "url(" not in text and "@import" not in text
    return page
