"""What machine a result was measured on."""

import datetime as dt
import json
import os
import platform
from pathlib import Path

import numpy as np


def describe() -> dict[str, object]:
    """CPU model, cores, memory (bytes), Python, numpy, platform and date (UTC), for the head of a result file."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu or "unknown",
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def write(name: str, payload: dict[str, object]) -> Path:
    """Results as JSON to results/<name>.json beside this file, under the description of the machine."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": describe(), **payload}, indent=1) + "\n", encoding="utf-8")
    return path


def read(name: str) -> dict[str, object]:
    """What an earlier run wrote, without the machine; empty where none did."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    if not path.exists():
        return {}
    return {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key != "machine"}


def percentiles(values: list[float], digits: int = 1) -> dict[str, float]:
    """The median, 95th and 99th percentile."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": round(float(p50), digits), "p95": round(float(p95), digits), "p99": round(float(p99), digits)}
