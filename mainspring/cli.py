"""The command line: each command is a thin twin of a Python function."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mainspring import demonstration, operations
from mainspring.clock import SystemClock, format_time, parse_time
from mainspring.console.pages import routes
from mainspring.console.report import write_report
from mainspring.errors import MainspringError
from mainspring.feed import Fed, feed
from mainspring.graph import Graph
from mainspring.models.registry import Registry
from mainspring.processes import Process, Processes, end_with_parent
from mainspring.retraining.live import Live
from mainspring.retraining.loop import Happened
from mainspring.retraining.replay import replay
from mainspring.serving.server import listen
from mainspring.serving.server import serve as serve_application
from mainspring.serving.service import Service
from mainspring.sources import quarantine as held
from mainspring.sources.home import Home
from mainspring.system import load
from mainspring.terminal import (
    counting,
    line,
    show_audit,
    show_backfilled,
    show_description,
    show_error,
    show_happened,
    show_held,
    show_ingested,
    show_plan,
    show_versions,
    working,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows that broke their source's contract.")
app.add_typer(quarantine_app, name="quarantine")
features_app = typer.Typer(no_args_is_help=True, help="What features are and what they cost.")
app.add_typer(features_app, name="features")

File = Annotated[Path, typer.Argument(help="the system file", show_default=False)]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="where state is kept; .mainspring/<system> beside the file"),
]
Endpoint = Annotated[str, typer.Argument(help="the name of an endpoint", show_default=False)]
SourceName = Annotated[str, typer.Argument(help="the name of a source", show_default=False)]
Start = Annotated[str, typer.Option("--from", help="the first moment, ISO 8601")]
End = Annotated[str, typer.Option("--to", help="the moment to stop before, ISO 8601")]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True)]


def main() -> None:
    """Runs a command; a mistake is told in our words, and ends with status 1."""
    try:
        app()
    except MainspringError as error:
        show_error(error)
        raise SystemExit(1) from None


@contextmanager
def opened(file: Path, home: Path | None, *, sync: bool = True) -> Generator[tuple[Graph, Home]]:
    """A system and its home."""
    system = load(file).graph
    folder = home or file.parent / ".mainspring" / system.name
    at = Home.open(folder, file.parent, sync=sync)
    try:
        yield system, at
    finally:
        at.close()


@app.command()
def plan(
    file: File, home: HomeOption = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Shows what the system is, and what changed since it was applied last."""
    with opened(file, home) as (system, at):
        found, changes = operations.changes(system, at)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        show_plan(found, changes)


@app.command()
def ingest(file: File, home: HomeOption = None) -> None:
    """Takes the new rows of every source's files; bad rows go to quarantine."""
    with opened(file, home) as (system, at):
        with working("taking the history in"):
            operations.ingest_all(system, at, SystemClock(), show_ingested)


@app.command()
def materialise(file: File, home: HomeOption = None) -> None:
    """Builds the online features from history, unless they are there already."""
    with opened(file, home) as (system, at):
        built = build_online(system, at, at.clock().now())
        line("built" if built else "they are there already")


def build_online(system: Graph, home: Home, now: int) -> bool:
    """Builds the online features with progress."""
    with working("building the online features") as say:
        return operations.materialise_all(
            system, home, now, lambda rows: say(f"building the online features, {rows:,} rows")
        )


@app.command()
def backfill(
    file: File,
    name: Annotated[
        str | None, typer.Argument(help="an endpoint or a training set; all without it")
    ] = None,
    home: HomeOption = None,
    start: Start = "1970-01-01",
    end: End = "9999-01-01",
) -> None:
    """Computes the features of past requests that are not there yet, and keeps them."""
    first, last = parse_time(start), parse_time(end)
    with opened(file, home) as (system, at):
        with working("taking the history in"):
            operations.ingest_all(system, at, SystemClock())
        with counting("computing the features of", "stretches") as told:
            found = operations.backfill(system, at, name, start=first, end=last, told=told)
        for done in found:
            show_backfilled(done)


@app.command()
def train(file: File, home: HomeOption = None) -> None:
    """Trains every model now; a version that meets its gates begins its rollout."""
    with opened(file, home) as (system, at), working("training"):
        operations.ingest_all(system, at, SystemClock())
        show_happened(operations.train_now(system, at))


@app.command(name="replay")
def replay_command(
    file: File,
    start: Start,
    end: End,
    home: HomeOption = None,
    speed: Annotated[
        float | None, typer.Option(help="virtual seconds per real second; without it, all speed")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="where the report goes; replay.html in the home")
    ] = None,
) -> None:
    """Runs the loop over history on a virtual clock, in a home of its own; writes a report."""
    begin, stop = parse_time(start), parse_time(end)
    folder = home or file.parent / ".mainspring" / f"replay-{start[:10]}-{end[:10]}"
    demonstration.fresh(folder)
    with opened(file, folder, sync=False) as (system, at):
        run_replay(system, at, begin, stop, speed=speed, report=report or folder / "replay.html")


def run_replay(
    system: Graph, home: Home, start: int, end: int, *, report: Path, speed: float | None = None
) -> None:
    """Ingests and replays with progress and a timeline, and writes the report."""
    with working("taking the history in") as say:
        operations.ingest_all(
            system, home, SystemClock(), lambda done: say(f"{done.source}: {done.rows:,} rows")
        )

        def told(at: int, happened: Sequence[Happened]) -> None:
            say(f"replaying, {format_time(at)[:10]}")
            show_happened(happened)

        done = replay(system, home, start, end, told=told, speed=speed)
        say("writing the report")
        write_report(system, home, done, report)
    line(f"{done.answers:,} requests answered; the report is {report}")


@app.command()
def up(
    file: File,
    home: HomeOption = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    clock: Annotated[
        str | None, typer.Option(help="begin with this time on the system's clock")
    ] = None,
    speed: Annotated[float, typer.Option(help="how fast that clock runs, with --clock")] = 1.0,
) -> None:
    """Runs the system: takes history in, serves, and keeps the loop going. Ctrl-C stops it."""
    listen(host, port).close()
    with opened(file, home) as (system, at):
        if clock:
            at.accelerate(parse_time(clock), speed)
        prepare(system, at)
        folder = at.folder
    line(f"serving at http://{host}:{port}, console at http://{host}:{port}/console")
    processes(file, folder, host, port).run(folder / "pids")


def prepare(system: Graph, home: Home) -> None:
    """What comes before serving: the plan, history, and the online features."""
    now = home.clock().now()
    for key, change in operations.apply_plan(system, home, now).items():
        line(f"[dim]{change:<8}[/] {key}")
    with working("taking the history in") as say:
        if operations.has_files(system, home):
            operations.ingest_all(
                system, home, SystemClock(), lambda done: say(f"{done.source}: {done.rows:,} rows")
            )
    build_online(system, home, now)


def processes(file: Path, folder: Path, host: str, port: int) -> Processes:
    """The processes of a system: one serves, one loops."""
    common = [str(file), "--home", str(folder), "--with-parent"]
    serving = Process("serve", ["serve", *common, "--host", host, "--port", str(port)])
    looping = Process("loop", ["loop", *common])
    return Processes([serving, looping], lambda text: line(f"[yellow]{text}[/]"))


@app.command()
def serve(
    file: File,
    home: HomeOption = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    with_parent: WithParent = False,
) -> None:
    """Serves the endpoints and the console, without the loop."""
    if with_parent:
        end_with_parent()
    with opened(file, home) as (system, at):
        build_online(system, at, at.clock().now())
        service = Service(system, at, at.clock())
        serve_application(service, host, port, routes(system, at))


@app.command()
def loop(file: File, home: HomeOption = None, with_parent: WithParent = False) -> None:
    """Keeps the loop going, without serving."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if with_parent:
        end_with_parent()
    with opened(file, home) as (system, at):
        with closing(Live(system, at, at.clock(), show_happened)) as live:
            live.run(stopped)


@app.command()
def versions(file: File, home: HomeOption = None) -> None:
    """Lists the fitted versions of every model, with their state and why they were trained."""
    with opened(file, home) as (system, at):
        registry = Registry(at.metadata, at.path("versions"))
        for name in operations.model_names(system):
            show_versions(name, registry.versions(name))


@app.command()
def promote(file: File, endpoint: Endpoint, version: int, home: HomeOption = None) -> None:
    """Makes a version champion of an endpoint at once."""
    with opened(file, home) as (system, at):
        operations.promote(system, at, endpoint, version)
        line(f"v{version} answers at {endpoint}")


@app.command()
def rollback(file: File, endpoint: Endpoint, home: HomeOption = None) -> None:
    """Makes the champion before this one answer again, at once."""
    with opened(file, home) as (system, at):
        version = operations.previous_champion(system, at, endpoint)
        operations.promote(system, at, endpoint, version, kind="rolled_back")
        line(f"v{version} answers at {endpoint} again")


@app.command()
def audit(
    file: File,
    endpoint: Annotated[str | None, typer.Argument(help="an endpoint; all without it")] = None,
    home: HomeOption = None,
    start: Start = "1970-01-01",
    end: End = "9999-01-01",
    rows: Annotated[int, typer.Option(help="how many logged answers to take")] = 10_000,
) -> None:
    """Recomputes the features of logged answers, and compares them with what serving used."""
    first, last = parse_time(start), parse_time(end)
    with opened(file, home) as (system, at):
        for name in [endpoint] if endpoint else operations.endpoint_names(system):
            with working(f"comparing the features of {name}"):
                found = operations.audit(system, at, name, start=first, end=last, limit=rows)
            show_audit(name, found)
            if found.first or found.missing:
                raise typer.Exit(1)


@app.command(name="feed")
def feed_command(
    file: File,
    folder: Annotated[Path, typer.Argument(help="files named as the sources' files are")],
    until: End,
    home: HomeOption = None,
    start: Annotated[
        str | None, typer.Option("--from", help="where to begin; the clock's time without it")
    ] = None,
    server: Annotated[str, typer.Option(help="host:port of the server")] = "127.0.0.1:8000",
) -> None:
    """Plays files as live traffic, each row when it becomes visible on the system's clock."""
    with opened(file, home) as (system, at):
        since = parse_time(start) if start else at.clock().now()
        run_feed(system, at, folder, server, since, parse_time(until))


def run_feed(system: Graph, home: Home, folder: Path, address: str, since: int, until: int) -> Fed:
    """Feeds with progress."""
    with working("feeding") as say:

        def told(fed: Fed) -> None:
            sent = f"{fed.requests:,} requests, {fed.events:,} events"
            say(f"{format_time(fed.at)[:16]}  {sent}, {fed.retries:,} sent again")

        engine, clock = home.engine, home.clock()
        fed = feed(system, folder, engine, clock, address, since=since, until=until, told=told)
    sent = f"{fed.requests:,} requests answered, {fed.events:,} events taken"
    line(f"{sent}, {fed.retries:,} sent again")
    return fed


@app.command()
def demo(
    port: int = 8000,
    start: Annotated[str, typer.Option("--from", help="where history begins")] = "2013-01-01",
    live: Annotated[str, typer.Option(help="where the live part begins")] = "2013-10-01",
    end: Annotated[str, typer.Option("--to", help="where it ends")] = "2014-01-01",
    minutes: Annotated[float, typer.Option(help="how long the live part takes")] = 6.0,
    stay: Annotated[bool, typer.Option(help="go on serving until Ctrl-C")] = True,
) -> None:
    """Replays nine months of real flights, then serves the rest of the year on a fast clock."""
    begin, handover, until = parse_time(start), parse_time(live), parse_time(end)
    folder, address = demonstration.FOLDER, f"127.0.0.1:{port}"
    with working("preparing the flights of a year"):
        file = demonstration.set_up(folder)
    with opened(file, None) as (system, home):
        with working("parting history from what comes live"):
            demonstration.part(system, home, folder, handover)
        run_replay(system, home, begin, handover, report=folder / "replay.html")
        speed = (until - handover) / 1e6 / (minutes * 60)
        clock = home.accelerate(handover, speed, after=demonstration.A_WHILE)
        prepare(system, home)
        line(f"live from {live}, {speed:,.0f} times as fast: [bold]http://{address}/console[/]")
        running = processes(file, home.folder, "127.0.0.1", port)
        with demonstration.running(running, home.folder / "pids"):
            demonstration.wait_until_ready(address, clock)
            home.accelerate(handover, speed)
            run_feed(system, home, folder / "live", address, handover, until)
            conclude(system, home, handover, until)
            if stay:
                line(f"still serving at http://{address}/console; Ctrl-C stops it")
                demonstration.wait_for_interrupt()


def conclude(system: Graph, home: Home, start: int, end: int) -> None:
    """What the live part came to: parity of features, and quality against the frozen version."""
    demonstration.wait_until_folded(home)
    for name in operations.endpoint_names(system):
        with working(f"comparing the features of {name}"):
            found = operations.audit(system, home, name, start=start, end=end, limit=10_000)
        show_audit(name, found)
    for text in demonstration.summary(system, home, start, end):
        line(text)


@features_app.command(name="describe")
def features_describe(
    file: File,
    view: Annotated[str | None, typer.Argument(help="a view; all without it")] = None,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Shows what each feature is made of, how fresh it is, how often NULL, and what it costs."""
    with opened(file, home) as (system, at), working("looking at the features") as say:
        found = operations.describe(system, at, view, told=lambda name: say(f"looking at {name}"))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        show_description(found)


@quarantine_app.command(name="show")
def quarantine_show(
    file: File, source: SourceName, home: HomeOption = None, rows: int = 20
) -> None:
    """Shows held rows with the reasons against them."""
    with opened(file, home) as (system, at):
        table = at.table(operations.source_named(system, source))
        show_held(held.show(table, at.engine, rows))
        line(f"{source}: {held.count(table, at.engine):,} rows in quarantine")


@quarantine_app.command(name="replay")
def quarantine_replay(
    file: File,
    source: SourceName,
    home: HomeOption = None,
    fix: Annotated[list[str] | None, typer.Option(help="column=value, for every row")] = None,
    offset: Annotated[list[int] | None, typer.Option(help="only this row; may be repeated")] = None,
) -> None:
    """Judges held rows again, with edits; those that pass enter at their original offsets."""
    with opened(file, home) as (system, at):
        table = at.table(operations.source_named(system, source))
        edits = dict(operations.edit(text) for text in fix or [])
        with working("judging"):
            done = held.replay(table, at.engine, at.clock(), edits or None, offset or None)
        show_held(done.still_bad[:20])
        line(f"{source}: {done.mended:,} rows entered, {len(done.still_bad):,} still held")


@quarantine_app.command(name="drop")
def quarantine_drop(
    file: File, source: SourceName, offset: list[int], home: HomeOption = None
) -> None:
    """Drops held rows for good, by offset."""
    with opened(file, home) as (system, at):
        table = at.table(operations.source_named(system, source))
        line(f"{source}: {held.drop(table, offset):,} rows dropped")


if __name__ == "__main__":
    main()
