"""Values as people write them: sizes (``512MiB``), durations (``7d``), switches (``off``)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

_BYTES = MappingProxyType(
    {"TiB": 1024**4, "GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "TB": 1000**4, "GB": 1000**3, "MB": 1000**2}
    | {"KB": 1000, "B": 1}
)
_SECONDS = MappingProxyType({"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1})


def parse_bytes(text: str) -> int:
    """``512MiB``, ``1.5GB`` or ``1024`` as whole bytes. Raises ``ValueError`` where it is no size."""
    found = re.fullmatch(r"([0-9]+)(\.[0-9]+)?\s*([A-Za-z]*)", text)
    sizes = {unit.lower(): size for unit, size in _BYTES.items()} | {"": 1}
    if not found or found[3].lower() not in sizes:
        raise ValueError(f"{text!r:.40} is no size such as 512MiB")
    size = sizes[found[3].lower()]
    return int(found[1]) * size + int(float(found[2] or 0) * size)


def parse_seconds(text: str) -> float:
    """``7d``, ``1h30m``, ``250ms``, ``inf`` or ``1.5`` as seconds. Raises ``ValueError`` where it is no duration."""
    found = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])", text.lower())
    if not found or "".join(number + unit for number, unit in found) != text.lower():
        return float(text)
    return sum(float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit] for number, unit in found)


def parse_switch(text: str) -> bool:
    """``true``, ``yes``, ``on`` and ``1``, or their opposites. Raises ``ValueError`` for other words."""
    word = text.lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError(f"{text!r:.40} is neither true nor false")
    return word in ("true", "yes", "on", "1")


def in_words(value: object, unit: str) -> str:
    """A value as text that reads back as the same value; ``unit`` is ``bytes``, ``seconds`` or anything else."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}={family}" for name, family in value.items())
    units: Mapping[str, int] = {"bytes": _BYTES, "seconds": _SECONDS}.get(unit, MappingProxyType({}))
    if isinstance(value, int | float) and units and 0 < value < math.inf:
        for word, size in units.items():
            if value % size == 0 and value // size < 10_000:
                return f"{int(value // size)}{word}"
    return str(value)
