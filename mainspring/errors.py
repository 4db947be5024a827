"""Every mistake Mainspring knows by name: what is wrong, where, and what to do.

One class per mistake. Its annotated fields are its constructor arguments (keywords), its
attributes, and what its message is built from; it survives pickling, so it crosses a process and
keeps its meaning.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterable
from types import GenericAlias, UnionType
from typing import Any, ClassVar, Self, dataclass_transform, get_args, get_origin


def closest(name: str, options: Iterable[str]) -> str:
    """A sentence that proposes the nearest of `options`, or lists them when none is near.

    Example:
        >>> closest("carier", ["carrier", "origin"])
        "did you mean 'carrier'?"
        >>> closest("zzz", ["carrier", "origin"])
        'one of: carrier, origin'
    """
    known = sorted(options)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "one of: " + ", ".join(known) if known else "there is none"


def declared_at() -> str:
    """`file:line` of the first caller outside Mainspring: where a declaration stands.

    It is for messages only; no name and no identity comes from it.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and str(frame.f_globals.get("__name__", "")).startswith("mainspring."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass_transform(kw_only_default=True)
class MainspringError(Exception):
    """The base of all our errors: a headline, then `where` and `fix`.

    `str()` gives the message for a person; `code` and `fields` are what crosses an API.

    Example:
        >>> class Lost(MainspringError):
        ...     headline = "{thing} is not at {place}"
        ...     fix = "look elsewhere"
        ...     thing: str
        ...     place: str
        >>> print(Lost(thing="the key", place="home"))
        the key is not at home
          fix    look elsewhere
    """

    headline: ClassVar[str] = "something is wrong"
    where: ClassVar[str] = ""
    fix: ClassVar[str] = ""

    def __init__(self, **fields: Any) -> None:
        names = {n for c in type(self).__mro__ for n in _own_fields(c)}
        if fields.keys() != names:
            raise TypeError(
                f"{type(self).__name__} takes the fields {sorted(names)}, got {sorted(fields)}"
            )
        super().__init__()
        self.__dict__.update(fields)

    @property
    def code(self) -> str:
        """The class name: what an API answers and what a program may rely on."""
        return type(self).__name__

    @property
    def fields(self) -> dict[str, Any]:
        """The facts that the message is built from."""
        return {n: v for n, v in self.__dict__.items() if n != "__notes__"}

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.headline.format(**self.__dict__)

    def __str__(self) -> str:
        lines = [self.subject]
        for label, template in (("where", self.where), ("fix", self.fix)):
            text = template.format(**self.__dict__).strip()
            if text:
                lines.append(f"  {label:<6} {text}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{self.code}({', '.join(f'{n}={v!r}' for n, v in self.fields.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields), self.__dict__


def _own_fields(cls: type) -> Iterable[str]:
    annotations = inspect.get_annotations(cls)
    return (name for name, type_ in annotations.items() if "ClassVar" not in str(type_))


def _rebuild(cls: type[MainspringError], fields: dict[str, Any]) -> MainspringError:
    return cls(**fields)


class InvalidDeclaration(MainspringError):
    """A declaration that cannot mean anything, found when the system file is loaded."""

    headline = "{subject_name}: {problem}"
    where = "{at}"
    fix = "{remedy}"
    subject_name: str
    problem: str
    at: str
    remedy: str


def expect(declared: Any, **types: type | UnionType | GenericAlias) -> None:
    """Raise unless each named attribute is of its type; `list[X]` is a list or tuple of X.

    A type checker sees the same before anything runs; this is for those who use none.

    Raises:
        InvalidDeclaration: one is of another type.

    Example:
        >>> from fractions import Fraction
        >>> expect(Fraction(1, 2), numerator=int | None)
    """
    for name, wanted in types.items():
        for misfit in _misfits(getattr(declared, name), wanted):
            raise InvalidDeclaration(
                subject_name=_shown(declared),
                problem=f"{name}= cannot take {_shown(misfit)}",
                at=getattr(declared, "at", declared_at()),
                remedy=f"{name}= takes {_type_name(wanted)}",
            )


def _misfits(value: Any, wanted: Any) -> list[Any]:
    if get_origin(wanted) is not list:
        return [] if isinstance(value, wanted) else [value]
    if not isinstance(value, list | tuple):
        return [value]
    return [item for item in value if not isinstance(item, *get_args(wanted))]


def _shown(value: Any) -> str:
    """A declaration by its type and name, a constant as it is written."""
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return f"{type(value).__name__} {name!r}"
    return repr(value) if isinstance(value, str | float | int | None) else type(value).__name__


def _type_name(wanted: Any) -> str:
    """A type as a person says it, without the modules."""
    if get_origin(wanted) is list:
        return f"a list of {_type_name(*get_args(wanted))}"
    names = " | ".join(t.__name__ for t in get_args(wanted) or (wanted,))
    return names.replace("NoneType", "None")


class UnknownName(MainspringError):
    """A command, an endpoint, a source or a feature that the system does not have."""

    headline = "there is no {kind} named {name!r}"
    where = "{at}"
    fix = "{suggestion}"
    kind: str
    name: str
    at: str
    suggestion: str

    @classmethod
    def among(cls, kind: str, name: str, options: Iterable[str], at: str = "") -> Self:
        """The error for `name`, with the nearest of `options` proposed."""
        return cls(kind=kind, name=name, at=at, suggestion=closest(name, options))


class InvalidTime(MainspringError):
    """A text that should be a date or time and is not."""

    headline = "{text!r} is not a date or time"
    fix = "write it as ISO 8601, for example 2013-01-31 or 2013-01-31T08:00:00+00:00"
    text: str


class AmbiguousTruth(MainspringError):
    """An expression used where Python wants True or False."""

    headline = "an expression has no truth value: {expression}"
    where = "{at}"
    fix = "combine conditions with & | ~, not and, or, not; compare by .equals(…) and .is_in(…)"
    expression: str
    at: str


class OutcomeLeak(MainspringError):
    """A feature that would be read from a row which the prediction cannot know."""

    headline = (
        "{owner} lists {feature}, which stands on a row that a {request} request does not carry"
    )
    where = "{at}"
    fix = "use columns of {request}, or aggregate past rows in a FeatureView"
    feature: str
    owner: str
    request: str
    at: str


class DuplicateName(MainspringError):
    """Two declarations of one kind under one name."""

    headline = "two {kind}s are named {name!r}"
    where = "{at}, and before it {first}"
    fix = "give one of them another name: a name is where state is kept"
    kind: str
    name: str
    first: str
    at: str


class SystemFileMissing(MainspringError):
    """A system file that is not there."""

    headline = "there is no system file {path}"
    fix = "name a Python file that declares an ms.System; examples/flights.py is one"
    path: str


class NoSystem(MainspringError):
    """A system file that does not declare exactly one system."""

    headline = "{path} declares {found} systems, not one"
    fix = "end the file with: system = ms.System(name, endpoints=[...])"
    path: str
    found: int


class UnknownScheme(MainspringError):
    """A URL of a kind that no store or engine has."""

    headline = "nothing here speaks {scheme}:// (in {url!r})"
    fix = "use one of: {known}"
    url: str
    scheme: str
    known: str

    @classmethod
    def among(cls, url: str, known: Iterable[str]) -> Self:
        """The error for `url`, with the schemes that are known."""
        return cls(
            url=url, scheme=url.split(":")[0], known=", ".join(f"{k}://" for k in sorted(known))
        )


class DataFileMissing(MainspringError):
    """A source's data file that is not there."""

    headline = "there is no data file {path}"
    fix = "check the source's url=; it is taken relative to the system file"
    path: str


class UnreadableFile(MainspringError):
    """A data file that is not what its name says, or is damaged."""

    headline = "{path} cannot be read: {problem}"
    fix = "write it again, as Parquet or as CSV in UTF-8 with a header; nothing of it was taken"
    path: str
    problem: str


class UnknownColumn(MainspringError):
    """A column that the contract declares and the file lacks."""

    headline = "{file} has no column {column!r} that {source} declares"
    where = "{at}     has  {has}"
    fix = "{suggestion}"
    file: str
    column: str
    source: str
    has: str
    suggestion: str
    at: str


class WrongType(MainspringError):
    """A column whose type in the file cannot be what the contract says."""

    headline = "{file} has {column!r} as {found}, {source} declares {expected}"
    where = "{at}"
    fix = "declare it as `{column}: Column[{found_type}]`, or write the file with {expected} values"
    file: str
    column: str
    source: str
    found: str
    found_type: str
    expected: str
    at: str


class ContractViolation(MainspringError):
    """More bad rows in one ingest than the contract allows."""

    headline = "{bad:,} of {rows:,} {source} rows have {check}, at most a share of {allowed:g} may"
    where = "{at}     first  {first}"
    fix = "nothing was taken; mend the producer, or raise bad_at_most= of the column"
    source: str
    rows: int
    bad: int
    check: str
    allowed: float
    first: str
    at: str


class TooManyChecks(MainspringError):
    """A contract that does not fit the 64 bits of a violation mask."""

    headline = "the contract of {source} has {found} checks, at most 64 fit one scan"
    where = "{at}"
    fix = "drop checks, or split the source"
    source: str
    found: int
    at: str


class DiskFull(MainspringError):
    """No room to write; what was there before is untouched."""

    headline = "the disk is full: {path} could not be written"
    where = "{reason}"
    fix = "make room, then try again; nothing was left half-written"
    path: str
    reason: str


class LogLocked(MainspringError):
    """A second writer of one log."""

    headline = "the log {folder} is being written by process {process}"
    fix = "stop that process first, or read with mainspring.sources.reader.Reader: it needs no lock"
    folder: str
    process: str


class LogCorrupt(MainspringError):
    """A damaged record with others after it: not the torn end of a crash, but lost history."""

    headline = "record {offset} of the log is damaged"
    where = "{path}, byte {position}"
    fix = "restore this file from a copy; the records before and after it are intact"
    path: str
    position: int
    offset: int


class LogDropped(MainspringError):
    """A record that was dropped from the log after it had been folded into its table."""

    headline = "record {offset} is no longer in the log {folder}, which starts at {start}"
    fix = "read older records from the table that the log is folded into"
    folder: str
    offset: int
    start: int


class LogClosed(MainspringError):
    """A log that was closed, or that belongs to the parent process."""

    headline = "the log {folder} is not open in this process"
    fix = "open it here, after the process that has it has closed it"
    folder: str


class WrongValue(MainspringError):
    """A value that its column of a metadata table cannot hold."""

    headline = "{table}.{column} holds {expected}, got {got}"
    fix = "the columns and their kinds are declared in mainspring/stores/base.py"
    table: str
    column: str
    expected: str
    got: str


class DuplicateRow(MainspringError):
    """A second row under one key."""

    headline = "{table} already has a row with {key}"
    fix = "take a new key, or `upsert` where a row may be replaced"
    table: str
    key: str


class StoreBusy(MainspringError):
    """A metadata store that another process kept locked for too long."""

    headline = "{path} stayed locked by another writer for {seconds:.0f} s"
    fix = "find the process that holds a transaction open, or try again"
    path: str
    seconds: float


class NestedTransaction(MainspringError):
    """A write transaction begun inside another one of the same thread: it would wait for itself."""

    headline = "a transaction on {path} is already open in this thread"
    fix = "pass the open transaction on instead of beginning another"
    path: str


class StoreInherited(MainspringError):
    """A metadata store used in a process that was forked after it was opened."""

    headline = "{path} was opened in process {opened} and is used in process {used}"
    fix = "connect again in the forked process: SQLite does not survive a fork"
    path: str
    opened: int
    used: int


class SchemaTooNew(MainspringError):
    """A metadata store that a newer Mainspring has written."""

    headline = "{path} has schema {found}, this Mainspring knows up to {known}"
    fix = "pip install --upgrade mainspring"
    path: str
    found: int
    known: int


class StepBusy(MainspringError):
    """A step of the journal that someone else is doing."""

    headline = "step {key!r} is being done by {owner}"
    fix = "wait; if {owner} has died, its lease ends by itself within {seconds:.1f} s"
    key: str
    owner: str
    seconds: float


class StepFailed(MainspringError):
    """A step of the journal whose work raised; it is tried again until the limit."""

    headline = "step {key!r} failed, {attempts} of {limit} tries: {error}"
    where = "{message}"
    fix = "mend the cause; after the last try, journal.retry({key!r}) allows new ones"
    key: str
    attempts: int
    limit: int
    error: str
    message: str


class LeaseLost(MainspringError):
    """A step that someone else took over while its work ran here; nothing of it was kept."""

    headline = "step {key!r} was taken over by {owner} while {loser} was doing it"
    fix = "nothing is doubled; lengthen the lease if the work cannot be shorter than it"
    key: str
    owner: str
    loser: str


class MissingInput(MainspringError):
    """A model was asked for a prediction without one of its inputs."""

    headline = "the model needs {name}, which is not among the columns given"
    where = "given  {given}"
    fix = "pass every input of the signature; a value that is not known is NaN, or None for text"
    name: str
    given: str


class NothingToLearn(MainspringError):
    """Training rows from which no model can be fitted."""

    headline = "{model} cannot be fitted: {problem}"
    where = "{at}"
    fix = "widen the lookback of the training set, or look at what its label says of them"
    model: str
    problem: str
    at: str


class UnsuitableEstimator(MainspringError):
    """An estimator that cannot do what its model declares."""

    headline = "{model}: {estimator} {problem}"
    where = "{at}"
    fix = "{remedy}"
    model: str
    estimator: str
    problem: str
    at: str
    remedy: str


class FitFailed(MainspringError):
    """The estimator raised while it was fitted; `trace` has the last lines of its traceback."""

    headline = "{model} failed to fit: {error}: {message}"
    where = "{at}"
    fix = "mend the estimator or its settings; the traceback is in the log"
    model: str
    error: str
    message: str
    trace: str
    at: str


class FitTimedOut(MainspringError):
    """A fit that was stopped because it ran past its deadline."""

    headline = "{model} was still fitting after {deadline_s:g} s and was stopped"
    where = "{at}"
    fix = "allow more time, or fit less: fewer rows (lookback=) or a smaller estimator"
    model: str
    deadline_s: float
    at: str


class FitOutOfMemory(MainspringError):
    """A fit that needed more memory than it was given."""

    headline = "{model} needed more than {memory_mb} MB to fit"
    where = "{at}"
    fix = "allow more memory, or fit less: fewer rows (lookback=) or a smaller estimator"
    model: str
    memory_mb: int | str
    at: str


class FitDied(MainspringError):
    """A fitting process that ended without an answer."""

    headline = "{model}: the fitting process was ended by {signal}"
    where = "{at}"
    fix = "SIGKILL is most often lack of memory; SIGSEGV a fault in the estimator's library"
    model: str
    signal: str
    at: str


class UnsavableEstimator(MainspringError):
    """A fitted estimator that cannot be stored without pickle."""

    headline = "{estimator} cannot be stored: {problem}"
    fix = "keep only numbers, text, arrays and scikit-learn objects in the fitted attributes"
    estimator: str
    problem: str


class ArtefactDisagrees(MainspringError):
    """A stored model that does not predict what the fitted estimator predicts."""

    headline = "{estimator}, stored and loaded again, predicts differently by up to {worst:.3g}"
    fix = "do not override predict in a subclass; state that predict needs belongs in attributes"
    estimator: str
    worst: float


class DamagedArtefact(MainspringError):
    """A stored model whose files are not those that were written; it is not loaded."""

    headline = "the model in {folder} is damaged: {problem}"
    fix = "restore the folder from a backup, or train again"
    folder: str
    problem: str


class UnloadableArtefact(MainspringError):
    """A stored model that needs code which is not there, or another version of it."""

    headline = "the model in {folder} cannot be loaded: {problem}"
    where = "written with {libraries}"
    fix = (
        "install those versions, and load the system file that defines the estimator's class first"
    )
    folder: str
    problem: str
    libraries: str


class NoTrainingRows(MainspringError):
    """A training that has nothing to learn from or to be judged on."""

    headline = (
        "training set {training_set!r} has {fit} rows to fit on and {judge} to judge on, "
        "{at_least} and 1 are needed"
    )
    where = "{at}     label {label!r}: {labelled} labelled, {pending} pending, {censored} censored"
    fix = (
        "wait until outcomes arrive and mature, check that of= and when= hold the same keys, "
        "or give the label a default="
    )
    training_set: str
    label: str
    fit: int
    judge: int
    at_least: int
    labelled: int
    pending: int
    censored: int
    at: str


class RequestRefused(MainspringError):
    """A request whose body is not what the endpoint asks for."""

    headline = "{path}: {problem}"
    fix = "{remedy}"
    path: str
    problem: str
    remedy: str


class DeadlineExceeded(MainspringError):
    """A request that was not answered in time, at an endpoint without a fallback."""

    headline = "endpoint {endpoint!r} did not answer within {timeout_ms:g} ms"
    fix = "give the endpoint a fallback=, or a longer timeout="
    endpoint: str
    timeout_ms: float


class NoAnswer(MainspringError):
    """An endpoint that has neither a champion nor a fallback."""

    headline = "endpoint {endpoint!r} has no champion yet, and no fallback"
    fix = "train and promote a version, or give the endpoint a fallback="
    endpoint: str


class NotMaterialised(MainspringError):
    """An online store that does not hold the features that are asked of it."""

    headline = "the online store holds other features ({found}) than these ({wanted})"
    fix = "build it from the tables: `mainspring materialise`"
    found: str
    wanted: str


class OnlineAhead(MainspringError):
    """An online store that has taken in records which the log does not have."""

    headline = "the online store has taken in {applied} records, the log {folder} has {end}"
    fix = "bring back the log, or build the store from the tables: `mainspring materialise`"
    folder: str
    applied: int
    end: int


class NothingToAudit(MainspringError):
    """An audit of an endpoint that answered nothing in the time asked for."""

    headline = (
        "endpoint {endpoint!r} answered no request in that time, or its answers are not folded yet"
    )
    fix = "widen --from and --to, or wait a few seconds for the loop"
    endpoint: str


class FeedRefused(MainspringError):
    """Rows of a feed that the server will never take."""

    headline = "{path} answered {status}: {answer}"
    fix = "mend the rows of the file, or the contract; what was sent before is taken"
    path: str
    status: int
    answer: str


class WriteConflict(MainspringError):
    """A commit to a table that another process's commit has made impossible."""

    headline = "another process wrote to table {table} at the same time"
    where = "{problem}"
    fix = "nothing was written; run it again, and one at a time"
    table: str
    problem: str


class FileChanged(MainspringError):
    """A data file whose rows were taken, and which now has others, that nothing tells apart."""

    headline = "{path} has changed since its rows were taken, and {source} cannot tell new from old"
    where = "{at}"
    fix = "write new rows to a new file (url='folder/*.parquet'), or {remedy}"
    path: str
    source: str
    remedy: str
    at: str


class PortInUse(MainspringError):
    """An address on which another program listens already."""

    headline = "another program listens on {host}:{port}"
    fix = "stop it, or serve on another port: --port {free}"
    host: str
    port: int
    free: int


class CannotListen(MainspringError):
    """An address on which the server may not, or cannot, listen."""

    headline = "the server cannot listen on {host}:{port}: {reason}"
    fix = "name an address of this machine, and a port from 1024 to 65535: --host, --port"
    host: str
    port: int
    reason: str


class Overloaded(MainspringError):
    """More requests at once than an endpoint or a source lets wait."""

    headline = "{name!r} has {waiting} requests in flight, and takes no more at once"
    fix = "try again in a second; where this lasts, serve from more machines"
    name: str
    waiting: int


class BodyTooLarge(MainspringError):
    """A request with more bytes than the server reads."""

    headline = "the body has more than {limit:,} bytes"
    fix = "send fewer rows in one request; `mainspring ingest` takes whole files of events"
    limit: int


class BodyTooSlow(MainspringError):
    """A request whose body did not come in time."""

    headline = "the body was not there within {seconds:g} s"
    fix = "send it in one go; the connection is closed"
    seconds: float


class WrongContentType(MainspringError):
    """A request with a body of a kind that the server does not read."""

    headline = "the content type is {found!r:.60}"
    fix = "send application/json, or application/x-ndjson for one object a line"
    found: str


class MethodNotAllowed(MainspringError):
    """A path that is there, asked with a method that is not."""

    headline = "{path} does not take {method}"
    fix = "use {allowed}"
    path: str
    method: str
    allowed: str


class Broken(MainspringError):
    """Something of ours, or of the system's own functions, raised while a request was answered."""

    headline = "the request could not be answered: incident {incident}"
    fix = "the traceback is in the server's error output, under {incident}"
    incident: str


class DemoMissing(MainspringError):
    """The example that the demo runs is not installed."""

    headline = "the example files are neither in {folder} nor beside it"
    fix = "install the package anew, or run the demo in a clone of the repository"
    folder: str


class ServerDidNotStart(MainspringError):
    """A server that did not become ready in time."""

    headline = "{address} was not ready after {seconds:g} s"
    fix = "look at what the serving process printed; is the port free?"
    address: str
    seconds: float


class SignatureMismatch(MainspringError):
    """A version that needs a value which its endpoint, or its training set, does not have."""

    headline = "{model} v{number} needs {missing}, which {owner} does not give"
    where = "{at}    v{number} -> declared now   {difference}"
    fix = "add it to the training set again, or serve the new model under a new endpoint name"
    model: str
    number: int
    missing: str
    owner: str
    difference: str
    at: str


class NoEarlierChampion(MainspringError):
    """A rollback of an endpoint that has had one champion at most."""

    headline = "endpoint {endpoint!r} had no champion before this one"
    fix = "name a version: mainspring promote FILE {endpoint} VERSION"
    endpoint: str


class FunctionFailed(MainspringError):
    """A function of `ms.apply` that raised on the values it was given."""

    headline = "{function}, given to ms.apply, raised {message}"
    where = "{at}"
    fix = "let it take one array per column, with any values in it: NaN and None are NULL"
    function: str
    message: str
    at: str


class UnfitResult(MainspringError):
    """A function of `ms.apply` that does not return what was declared."""

    headline = "{function}, given to ms.apply, returned {problem}, and is declared returns={wanted}"
    where = "{at}"
    fix = "return one array with a {wanted} or NULL per row: NaN in numbers, None in text"
    function: str
    problem: str
    wanted: str
    at: str
