"""Tables of measurements: printed row by row, with each figure's multiple of the first row's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.feature_engine.measuring import Figures, Stopped, in_child
from benchmarks.feature_engine.samples import compare

FORMATS = {
    "seconds": "{:.2f}",
    "CPU s": "{:.2f}",
    "peak MB": "{:,.0f}",
    "p50 µs": "{:,.1f}",
    "p99 µs": "{:,.1f}",
    "known p50": "{:.1f}",
    "known p99": "{:.1f}",
    "read p50": "{:.1f}",
    "read p99": "{:.1f}",
}


class Table:
    """A table on standard output.

    Args:
        columns: the figures of a row. One like `rows/CPU s` is a quotient of two others.
        beside: columns after which stands how many times that of the first row it is.
    """

    def __init__(self, title: str, *columns: str, beside: tuple[str, ...] = ()) -> None:
        self._columns, self._beside = columns, beside
        self._first: Figures = {}
        heads = [h for c in columns for h in ([c, "×"] if c in beside else [c])]
        print(f"\n{title}\n{'':48}" + "".join(f"{h:>8}" if h == "×" else f"{h:>12}" for h in heads))

    def add(
        self,
        name: str,
        function: str,
        python: Path | str = sys.executable,
        *,
        best_of: int = 1,
        same: str = "",
        **arguments: Any,
    ) -> Figures:
        """Measures a function in a child process and prints its row; no figures if it was stopped.

        Args:
            same: the name of its sample, which must equal ours.
        """
        try:
            found = in_child(function, python, best_of=best_of, **arguments)
        except Stopped as stopped:
            print(f"{name:48}  {stopped}", flush=True)
            return {}
        if same:
            compare(arguments.get("home") or arguments["folder"], "ours", same)
        self.row(f"{name} {found.get('version', '')}", found)
        return found

    def row(self, name: str, figures: Figures) -> None:
        """Prints a row."""
        self._first = self._first or figures
        print(f"{name:48}" + "".join(self._cell(c, figures) for c in self._columns), flush=True)

    def _cell(self, column: str, figures: Figures) -> str:
        value = _figure(column, figures)
        text = f"{FORMATS.get(column, '{:,.0f}').format(value):>12}"
        if column in self._beside:
            text += f"{value / _figure(column, self._first):>7.2f}×"
        return text


def _figure(column: str, figures: Figures) -> float:
    over, _, under = column.partition("/")
    if under:
        return _figure(over, figures) / _figure({"s": "seconds"}.get(under, under), figures)
    return float(figures[column])
