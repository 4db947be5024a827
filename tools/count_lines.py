"""Lines of code of the package, by folder; fails above the limit.

A line of code has something on it besides blanks, a comment or a docstring.
Usage: python tools/count_lines.py [FOLDER]
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

LIMIT = 15_000
LONG_FILE = 300
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstring_lines(tree: ast.Module) -> set[int]:
    """The lines that docstrings stand on."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                first = node.body[0]
                lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def count(source: str) -> int:
    """Lines of code in one file's text."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def main(folder: Path, limit: int = LIMIT) -> int:
    """Print the table of folders; the exit status says whether the total is within `limit`."""
    folders: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        lines = count(path.read_text(encoding="utf-8"))
        below = path.relative_to(folder).parts
        folders[below[0] if len(below) > 1 else "."] += lines
        if lines > LONG_FILE:
            print(f"{lines:7,}  {path}: long, look again")
    for name, lines in sorted(folders.items()):
        print(f"{lines:7,}  {name}")
    total = folders.total()
    print(f"{total:7,}  lines of code of {limit:,} allowed")
    return int(total > limit)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "mainspring")))
