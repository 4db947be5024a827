"""The house rules that no linter knows, in one pass over each file.

    library     a storage library is imported at the top of its stores/NAME.py or engines/NAME.py
    wall        an implementation of a store or an engine is reached by its URL, never imported
    import      our own modules are imported at the top, one by one, without a star
    init        an __init__.py holds a docstring, imports and constants of the form __name__
    clock       wall time is read in clock.py only
    pickle      nothing is unpickled outside models/
    assert      a mistake of the user raises an error of ours, and python -O must not change that
    unfinished  no note of work to be done

Usage: python tools/check_source.py [FOLDER]
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGE = "mainspring"
WALLED = ("stores", "engines")
OPEN_MODULES = ("base", "urls")
OUTERMOST = ("cli.py", "testing.py", "__main__.py")

LIBRARIES = {
    "boto3",
    "confluent_kafka",
    "deltalake",
    "duckdb",
    "lmdb",
    "polars",
    "psycopg",
    "pyspark",
    "ray",
    "redis",
    "sqlalchemy",
}
WALL_TIME = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.ctime",
    "time.gmtime",
    "time.localtime",
    "time.sleep",
    "time.time",
    "time.time_ns",
}
UNPICKLING = {
    "cloudpickle.load",
    "cloudpickle.loads",
    "dill.load",
    "dill.loads",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "pandas.read_pickle",
    "pickle.Unpickler",
    "pickle.load",
    "pickle.loads",
    "shelve.open",
}
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")

Found = tuple[int, str, str]  # line, rule, what is wrong


@dataclass(frozen=True)
class Import:
    """One module or name that a file imports."""

    line: int
    module: str
    name: str | None
    bound: str
    at_top: bool

    @property
    def origin(self) -> str:
        """Dotted path of what is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def stands_for(self) -> str:
        """Dotted path of what the bound name is: `import a.b` binds `a` alone."""
        return self.bound if self.origin.startswith(f"{self.bound}.") else self.origin


@dataclass(frozen=True)
class File:
    """A parsed file of the package and its place below the package's folder."""

    place: PurePosixPath
    source: str
    tree: ast.Module
    imports: tuple[Import, ...]
    modules: frozenset[str]


def parse(place: str, source: str, modules: frozenset[str] = frozenset()) -> File:
    """Read one file; `modules` are the names below the package's folder."""
    tree = ast.parse(source, place)
    return File(PurePosixPath(place), source, tree, tuple(_imports(tree)), modules)


def _imports(node: ast.AST, in_function: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for a in child.names:
                module = a.name if a.asname else a.name.split(".")[0]
                yield Import(child.lineno, a.name, None, a.asname or module, not in_function)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            for a in child.names:
                yield Import(child.lineno, module, a.name, a.asname or a.name, not in_function)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, in_function or function)


def libraries(file: File) -> Iterator[Found]:
    """Storage libraries stay in the file of their name."""
    for i in file.imports:
        library = i.module.split(".")[0]
        if library not in LIBRARIES:
            continue
        if file.place.parts[0] not in WALLED or file.place.stem != library:
            homes = " or ".join(f"{folder}/{library}.py" for folder in WALLED)
            yield i.line, "library", f"{library} is imported outside {homes}"
        elif not i.at_top:
            yield i.line, "library", f"{library} is imported inside a function"


def walls(file: File) -> Iterator[Found]:
    """Implementations of stores and engines are loaded by URL, so nobody imports them."""
    for i in file.imports:
        package, folder, module, *_ = [*i.origin.split("."), "", ""]
        if package == PACKAGE and folder in WALLED and module and module not in OPEN_MODULES:
            yield i.line, "wall", f"{folder}/{module}.py is imported: ask {folder}/urls.py"


def own_imports(file: File) -> Iterator[Found]:
    """Our own imports stand at the top and name modules, not the whole package."""
    for i in file.imports:
        if i.name == "*":
            yield i.line, "import", f"star import of {i.module}"
        if i.module.split(".")[0] != PACKAGE:
            continue
        if not i.at_top:
            yield i.line, "import", f"{i.origin} is imported inside a function"
        below = file.place.name not in OUTERMOST
        if below and i.module == PACKAGE and i.name not in file.modules:
            yield i.line, "import", f"{i.origin} goes through the package: import the module"


def inits(file: File) -> Iterator[Found]:
    """An __init__.py has no logic."""
    if file.place.name == "__init__.py":
        for node in file.tree.body:
            match node:
                case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("__"):
                    pass
                case _:
                    yield node.lineno, "init", "logic in an __init__.py"


def clocks(file: File) -> Iterator[Found]:
    """Wall time is read by the clock alone."""
    if str(file.place) != "clock.py":
        for line, origin in _used(file):
            if origin in WALL_TIME:
                yield line, "clock", f"{origin} outside clock.py: ask the clock"


def pickles(file: File) -> Iterator[Found]:
    """Unpickling runs the file's code, so only models/ may, on what it wrote and signed."""
    if file.place.parts[0] != "models":
        for line, origin in _used(file):
            if origin in UNPICKLING:
                yield line, "pickle", f"{origin} outside models/"
        for node in ast.walk(file.tree):
            match node:
                case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                    yield node.lineno, "pickle", "allow_pickle=True outside models/"
                case _:
                    pass


def _used(file: File) -> Iterator[tuple[int, str]]:
    """Dotted origin of every imported name where it is used or imported by itself."""
    origins = {i.bound: i.stands_for for i in file.imports}
    for i in file.imports:
        if i.name:
            yield i.line, i.origin
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute):
            root, *rest = ast.unparse(node).split(".")
            if root in origins:
                yield node.lineno, ".".join([origins[root], *rest])


def asserts(file: File) -> Iterator[Found]:
    """The package raises errors, it does not assert."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert", "assert in the package: raise an error of ours"


def unfinished(file: File) -> Iterator[Found]:
    """What is not done is an issue, not a comment."""
    for line, text in enumerate(file.source.splitlines(), 1):
        if found := UNFINISHED.search(text):
            yield line, "unfinished", found[0]


RULES = (libraries, walls, own_imports, inits, clocks, pickles, asserts, unfinished)


def breaches(file: File) -> list[Found]:
    """Everything that is wrong in one file, in the order of its lines."""
    return sorted({found for rule in RULES for found in rule(file)})


def main(folder: Path) -> int:
    """Print every breach as file:line; the exit status says whether there is one."""
    modules = frozenset(path.stem for path in folder.iterdir())
    paths = sorted(folder.rglob("*.py"))
    total = 0
    for path in paths:
        place = path.relative_to(folder).as_posix()
        for line, rule, text in breaches(parse(place, path.read_text(encoding="utf-8"), modules)):
            print(f"{path}:{line}: {rule}: {text}")
            total += 1
    print(
        f"{len(paths)} files keep the {len(RULES)} house rules" if not total else f"{total} found"
    )
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else PACKAGE)))
