"""Run the commands of a Markdown file: every ```sh block line by line, every ```python block as a program.

A block is left out where the line before it is the comment <!-- not run: REASON -->.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"(?:<!-- not run: (?P<why>.*?) -->\n)?```(?P<kind>sh|python)\n(?P<code>.*?)```", re.DOTALL)


def main() -> int:
    """Run the blocks of the file named on the command line; the first failure ends it."""
    path = Path(sys.argv[1])
    ran = 0
    for block in BLOCK.finditer(path.read_text()):
        if block["why"]:
            print(f"not run: {block['why']}", flush=True)
            continue
        commands = [["bash", "-euo", "pipefail", "-c", line] for line in block["code"].splitlines() if line.strip()]
        for command in commands if block["kind"] == "sh" else [[sys.executable, "-c", block["code"]]]:
            begun = time.perf_counter()
            done = subprocess.run(command, cwd=path.parent, stdin=subprocess.DEVNULL)
            print(f"[{time.perf_counter() - begun:.0f} s] {command[-1].splitlines()[0]}", flush=True)
            if done.returncode:
                return done.returncode
            ran += 1
    print(f"{ran} README commands ran")
    return 0 if ran else 1


if __name__ == "__main__":
    sys.exit(main())
