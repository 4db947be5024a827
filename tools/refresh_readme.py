"""Writes the example's system file into README.md, between its `<!-- system file -->` markers.

Usage: python tools/refresh_readme.py
"""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MARKER = "<!-- system file -->"


def refreshed(readme: str, system_file: str) -> str:
    """README.md with the system file as its block; one marker alone stands where it is to go.

    Example:
        >>> print(refreshed("a\\n<!-- system file -->\\nz\\n", "x = 1\\n"))
        a
        <!-- system file -->
        ```python
        x = 1
        ```
        <!-- system file -->
        z
        <BLANKLINE>
    """
    before, *between, after = readme.split(MARKER)
    if len(between) > 1:
        raise SystemExit(f"README.md has {len(between) + 1} markers {MARKER}, not one or two")
    return f"{before}{MARKER}\n```python\n{system_file}```\n{MARKER}{after}"


if __name__ == "__main__":
    readme = REPOSITORY / "README.md"
    system_file = (REPOSITORY / "examples" / "flights.py").read_text()
    readme.write_text(refreshed(readme.read_text(), system_file))
