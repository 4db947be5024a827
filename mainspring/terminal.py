"""What a person sees in the terminal: lines, tables and progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from mainspring.clock import format_time
from mainspring.console.words import percent, span
from mainspring.errors import MainspringError
from mainspring.features.audit import Parity
from mainspring.features.description import DescribedSet, DescribedView, Description
from mainspring.graph import Plan
from mainspring.models.registry import Version
from mainspring.operations import Backfilled
from mainspring.retraining.loop import Happened
from mainspring.sources.ingest import Ingested
from mainspring.sources.quarantine import Held

screen = Console(highlight=False)
errors = Console(highlight=False, stderr=True)

COLOURS = {
    "promoted": "green",
    "rolled_back": "red",
    "training_failed": "red",
    "incident_opened": "yellow",
}


def line(text: str, on: Console = screen) -> None:
    """Prints one line, however long; text in square brackets is markup."""
    on.print(text, soft_wrap=True)


def table(*columns: str) -> Table:
    """A table in our one style."""
    return Table(*columns, box=None, header_style="dim")


@contextmanager
def working(description: str) -> Generator[Callable[[str], None]]:
    """A spinner with the time, while the block lasts; call what it gives to say how far it is."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(description)
        yield lambda text: progress.update(task, description=text)


@contextmanager
def counting(description: str, unit: str) -> Generator[Callable[[str, float, int], None]]:
    """A bar with the time, while the block lasts; call what it gives to say of what how many units
    are done, of how many."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn()
    number = TextColumn("{task.fields[at]}"), TimeElapsedColumn()
    with Progress(*columns, *number, console=screen, transient=True) as progress:
        task = progress.add_task(description, total=None, at="")

        def told(what: str, done: float, of: int) -> None:
            said, at = f"{description} {what}", f"{int(done)} of {of} {unit}"
            progress.update(task, description=said, completed=done, total=of, at=at)

        yield told


def show_error(error: MainspringError) -> None:
    """Prints a mistake: its name, its headline, where and what to do."""
    line(f"[bold red]{error.code}[/]: {escape(str(error))}", on=errors)


def show_happened(happened: Sequence[Happened]) -> None:
    """Prints what happened, a line each."""
    for h in happened:
        colour = COLOURS.get(h.kind, "default")
        when, what = format_time(h.at)[:16], f"[{colour}]{h.kind:<16}[/]"
        line(f"[dim]{when}[/]  {what} {h.subject}: {escape(h.reason)}")


def show_plan(plan: Plan, changes: Mapping[str, str]) -> None:
    """Prints the nodes of a plan, and what changed of each."""
    shown = table("node", "needs", "hash", "")
    for key, node in plan["nodes"].items():
        shown.add_row(key, ", ".join(node["needs"]), node["hash"], changes.get(key, ""))
    for key, change in changes.items():
        if change == "removed":
            shown.add_row(key, "", "", change)
    screen.print(shown)


def show_ingested(done: Ingested) -> None:
    """Prints what an ingest did with one source."""
    reasons = ", ".join(f"{reason} ({n:,})" for reason, n in done.reasons.most_common(3))
    nothing = f"{done.source}: nothing new"
    tail = f", {done.bad:,} in quarantine: {escape(reasons)}" if done.bad else ""
    line(f"{done.source}: {done.rows:,} rows read{tail}" if done.files else nothing)


def show_versions(model: str, versions: Sequence[Version]) -> None:
    """Prints the versions of a model."""
    shown = table("model", "version", "trained", "state", "metrics", "reason")
    for v in versions:
        metrics = "  ".join(f"{k} {m['value']:.4f}" for k, m in list(v.metrics.items())[:2])
        when = format_time(v.at)[:16]
        shown.add_row(model, f"v{v.number}", when, v.state, metrics, escape(v.reason))
    screen.print(shown)


def show_backfilled(found: Backfilled) -> None:
    """Prints what was computed for the requests of one feature set, and what was there."""
    features, values = len(found.features), sum(found.computed.values())
    done = f"{len(found.computed)} of {features} features computed, {values:,} values"
    there = f"all {features} features were there"
    line(f"{found.name}: {found.requests:,} requests; {done if found.computed else there}")
    line(f"[dim]content hash {found.hash}[/]")


def show_audit(endpoint: str, found: Parity) -> None:
    """Prints how each feature compares, and why the first request that differs does."""
    shown = table("feature", "must be", "differ", "worst difference")
    for c in found.features:
        asked = "equal" if c.exact else "within 1e-9"
        shown.add_row(c.name, asked, f"{c.differ:,}", f"{c.worst:.1e}" if c.worst else "0")
    screen.print(shown)
    differ = sum(c.differ for c in found.features)
    missing = f", {found.missing:,} without a request row" if found.missing else ""
    line(f"{endpoint}: {found.requests:,} requests, {differ:,} values differ{missing}")
    if found.first:
        line(f"first request that differs: {escape(found.first)}")
    for explanation in found.explanations:
        for text in explanation.lines() if explanation.request == found.first else ():
            line(escape(text))


def show_description(found: Description) -> None:
    """Prints each view with its features, then what training sets and endpoints make of them."""
    for view in found.views:
        _show_view(view)
    for each in found.sets:
        _show_set(each)
    if found.applied is None:
        line("the online store is not built yet")
    else:
        line(f"the online store has all that arrived until {format_time(found.applied)[:19]}")


def _show_view(view: DescribedView) -> None:
    line(f"[bold]{view.name}[/] of {view.source}, by {' and '.join(view.key)}")
    line(f"[dim]{_of_view(view)}[/]")
    shown = table("feature", "is", "window", "from", "NULL", "offline", "online")
    for f in view.features:
        offline = "–" if f.offline_us is None else f"{f.offline_us:,.2f} µs"
        online = "–" if f.bytes is None else f"{f.bytes:,.0f} B"
        definition, origins = escape(f.definition), ", ".join(f.lineage)
        shown.add_row(f.name, definition, f.window, origins, _share(f.null_share), offline, online)
    screen.print(shown)


def _of_view(view: DescribedView) -> str:
    """What is known of a view as a whole."""
    if view.age_us is None:
        return "nothing is there yet"
    how = "in the online store" if view.measured else "as computed from rows"
    kept = "" if view.bytes is None else f", {view.bytes:,.0f} bytes each {how}"
    read = "" if view.online_us is None else f"; a read takes {view.online_us:,.0f} µs"
    return f"newest row {span(view.age_us)} ago; {view.entities:,} entities{kept}{read}"


def _show_set(found: DescribedSet) -> None:
    read = "" if found.online_us is None else f"; a read takes {found.online_us:,.0f} µs"
    line(f"[bold]{found.name}[/] of {found.request}")
    line(f"[dim]{found.requests:,} requests looked at{read}[/]")
    shown = table("value", "from", "NULL")
    for value in found.values:
        shown.add_row(escape(value.name), ", ".join(value.lineage), _share(value.null_share))
    screen.print(shown)


def _share(share: float | None) -> str:
    if share is not None and 0 < share < 0.001:
        return "< 0.1 %"
    return "–" if share is None else percent(share)


def show_held(rows: Sequence[Held]) -> None:
    """Prints rows in quarantine, a line each."""
    for row in rows:
        values = " ".join(f"{name}={value!r}" for name, value in row.row.items())
        reasons = f"[yellow]{escape('; '.join(row.reasons))}[/]"
        line(f"[dim]{row.offset:>8}[/]  {reasons}  {escape(values)}")
