"""The pages are true: every block of them runs, every link leads somewhere, nothing is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from mainspring import cli, terminal
from mainspring.serving.refusal import STATUS
from tests.blocks import Block, Reader, blocks
from tools import refresh_docs, refresh_readme

REPOSITORY = Path(__file__).resolve().parent.parent
README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
JOURNEYS = {
    "quickstart": ["quickstart.md", "operations.md"],
    "semantics": ["semantics.md"],
    "features": ["features.md"],
}
"""Pages that are run one after the other in one folder."""

LANGUAGES = {"", "text", "json", "python", "console", "sh"}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Someone who does what the pages say, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.screen, "width", 100)
    found = Reader(tmp_path)
    yield found
    found.leave()


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_reader_who_does_what_the_pages_say_sees_what_they_say(
    journey: str, reader: Reader
) -> None:
    for name in JOURNEYS[journey]:
        for block in blocks(DOCS / name):
            reader.follow(block)


def test_every_page_with_something_to_run_is_run() -> None:
    ran = {DOCS / name for names in JOURNEYS.values() for name in names} | {README}
    others = [block for page in PAGES if page not in ran for block in blocks(page)]
    assert {block.language for block in others} <= {"", "text", "json"}
    assert {block.language for page in PAGES for block in blocks(page)} <= LANGUAGES


def test_the_readme_shows_the_example_as_it_is(reader: Reader) -> None:
    shown = README.read_text()
    example = (REPOSITORY / "examples" / "flights.py").read_text()
    assert refresh_readme.refreshed(shown, example) == shown, "run python tools/refresh_readme.py"
    for block in blocks(README):
        if block.language == "python":
            reader.follow(block)


def commands_of(block: Block, program: str) -> list[list[str]]:
    words = (shlex.split(command) for command, _ in block.commands)
    return [found[1:] for found in words if found[0] == program]


def test_the_commands_of_the_readme_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for block in blocks(README):
        for arguments in commands_of(block, "mainspring"):
            understood(COMMANDS, arguments)
        for names in commands_of(block, "make"):
            assert set(names) <= targets


def understood(command: Any, arguments: list[str]) -> None:
    """Fails unless a command takes these arguments; nothing runs."""
    if isinstance(command, TyperGroup):
        name, *rest = arguments
        assert name in command.commands, f"there is no command {name}"
        understood(command.commands[name], rest)
    else:
        command.make_context(str(command.name), list(arguments))


COMMANDS = typer.main.get_command(cli.app)


def every_command(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for each in command.commands.values():
        yield from every_command(each, f"{name} {each.name}")


@pytest.mark.parametrize(("name", "command"), list(every_command(COMMANDS, "mainspring")))
def test_every_command_is_documented_with_its_options(name: str, command: Any) -> None:
    page = (DOCS / "operations.md").read_text()
    found = re.search(rf"^### `{name}[ `].*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operations.md has no section ### `{name} …`"
    options = [o for p in command.params for o in p.opts if not getattr(p, "hidden", False)]
    everywhere = {"--home", "--help"}
    assert {o for o in options if o.startswith("--")} - everywhere <= set(
        re.findall(r"--[\w-]+", found[0])
    )


def test_every_command_that_a_page_names_is_there() -> None:
    known = {name for name, _ in every_command(COMMANDS, "mainspring")}
    known |= {" ".join(name.split()[:2]) for name in known}
    for page in PAGES:
        named = set(re.findall(r"(?:`|: |\$ )(mainspring [a-z]+)", page.read_text()))
        assert named <= known, f"{page.name} names {named - known}"


def test_every_status_of_an_error_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", (DOCS / "operations.md").read_text(), re.M)
    documented = {
        code: int(status) for status, codes in rows for code in re.findall("`(\\w+)`", codes)
    }
    assert documented == {kind.__name__: status for kind, status in STATUS.items()}


@pytest.mark.parametrize("name", refresh_docs.PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    made = refresh_docs.PAGES[name]()
    assert (DOCS / name).read_text() == made, "run python -m tools.refresh_docs"


def test_every_module_is_listed_once() -> None:
    listed = re.findall(r"^- `(mainspring/.*?\.py)`", (DOCS / "modules.md").read_text(), re.M)
    package = (REPOSITORY / "mainspring").rglob("*.py")
    modules = {str(p.relative_to(REPOSITORY)) for p in package if p.name != "__init__.py"}
    assert sorted(listed) == sorted(modules)


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "reference.md").read_text()
    missing = [n for n in refresh_docs.public_names() if not re.search(rf"\bms\.{n}\b", page)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
