"""How long ``import yamabiko`` takes in a fresh interpreter, beside an empty program and beside ``import asyncio``.

    python benchmarks/importing.py

Wall time of whole processes, alternately, medians; the difference to the empty program is the import. The files are in
the page cache and compiled.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import machine

PROGRAMS = {
    "empty": "pass",
    "asyncio": "import asyncio",
    "yamabiko": "import yamabiko",
    "open_cache": "from yamabiko import open_cache, open_sync_cache, Request, Reply, Policy",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    walls: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, program in PROGRAMS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            walls[name].append((time.perf_counter() - started) * 1e3)
    medians = {name: statistics.median(values[1:]) for name, values in walls.items()}
    imports = {name: round(value - medians["empty"], 1) for name, value in medians.items() if name != "empty"}
    for name, value in imports.items():
        print(f"{PROGRAMS[name]:80} {value:6.1f} ms")
    print("written to", machine.write("importing", {"rounds": rounds, "import_ms": imports}))


if __name__ == "__main__":
    main()
