"""How long `import mainspring` takes in a fresh process, less what an empty process takes."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

GOAL_MS = 300


def best_ms(program: str, times: int = 5) -> float:
    """Milliseconds of the fastest of several fresh processes."""

    def once() -> float:
        start = perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return (perf_counter() - start) * 1000

    return min(once() for _ in range(times))


if __name__ == "__main__":
    took = best_ms("import mainspring") - best_ms("pass")
    print(f"import mainspring takes {took:.0f} ms (goal: {GOAL_MS})")
