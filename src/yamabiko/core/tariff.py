"""What infrastructure costs: nodes, functions, tasks, endpoints, metrics. It comes from the file of model prices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from yamabiko.errors import ConfigurationError

Engine: TypeAlias = Literal["valkey", "redis"]

_RATE = frozenset({"rate", "usd", "per", "source", "verified"})
_NODE = frozenset({"node", "memory_gib", "vcpus", "valkey", "redis", "reservable", "source", "verified"})
_RESERVED = frozenset({"at_most", "years", "source", "verified"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """USD (>= 0) for one of what ``per`` says: ``GB``, ``hour``, ``request``."""

    name: str
    usd: float
    per: str
    verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A type of node: its memory in bytes, its processors, and USD an hour by engine.

    ``reservable``: whether AWS sells it as a reserved node. ``verified``: whether both memory and price were compared
    with AWS's own pages.
    """

    name: str
    memory_bytes: int
    vcpus: int
    usd_per_hour: Mapping[Engine, float]
    reservable: bool
    verified: bool = False

    def price(self, engine: Engine) -> float:
        """USD an hour. Raises ``ConfigurationError`` where the file has none for this engine."""
        usd = self.usd_per_hour.get(engine)
        if usd is None:
            raise ConfigurationError(f"no price is known for {self.name} with {engine}: add it to the price file")
        return usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What a reserved node saves at most (0..1), for how many years it binds, and whether that was verified."""

    at_most: float = 0.0
    years: int = 3
    verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Rates and nodes by name, of a region and a date."""

    dated: str = ""
    region: str = ""
    rates: Mapping[str, Rate] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    reserved: Reserved = Reserved()

    def rate(self, name: str) -> Rate:
        """Raises ``ConfigurationError`` for one that the file does not have."""
        found = self.rates.get(name)
        if found is None:
            raise ConfigurationError(f"the price file has no rate {name}: add it under rates")
        return found

    def node(self, name: str) -> Node:
        """Raises ``ConfigurationError``, which names those that are known, for one that is not."""
        found = self.nodes.get(name)
        if found is None:
            raise ConfigurationError(f"the price file has no node {name}; it has {', '.join(self.nodes) or 'none'}")
        return found

    def overridden_by(self, other: Tariff) -> Tariff:
        """The same tariff, with all that ``other`` has in place of the same."""
        return Tariff(
            dated=other.dated or self.dated,
            region=other.region or self.region,
            rates=MappingProxyType({**self.rates, **other.rates}),
            nodes=MappingProxyType({**self.nodes, **other.nodes}),
            reserved=other.reserved if other.reserved != Reserved() else self.reserved,
        )


def parse_tariff(text: str) -> Tariff:
    """From JSON: ``{"rates": [{"rate": ..., "usd": ..., "per": ...}], "nodes": [{"node": ..., "memory_gib": ...}]}``.

    A node has USD an hour under ``valkey``, ``redis`` or both. ``verified`` may be left out, and is false then; so may
    whole parts. Raises ``ConfigurationError``.
    """
    try:
        document = json.loads(text)
    except ValueError:
        raise ConfigurationError("the price file is not JSON") from None
    if not isinstance(document, dict):
        raise ConfigurationError("the price file must be a JSON object")
    rates = [_rate(row, number) for number, row in _rows(document, "rates")]
    nodes = [_node(row, number) for number, row in _rows(document, "nodes")]
    for names in ([rate.name for rate in rates], [node.name for node in nodes]):
        again = next((name for name in names if names.count(name) > 1), None)
        if again is not None:
            raise ConfigurationError(f"the price file names {again} twice")
    return Tariff(
        dated=str(document.get("dated", "")),
        region=str(document.get("region", "")),
        rates=MappingProxyType({rate.name: rate for rate in rates}),
        nodes=MappingProxyType({node.name: node for node in nodes}),
        reserved=_reserved(document["reserved"]) if "reserved" in document else Reserved(),
    )


def _rows(document: Mapping[str, Any], part: str) -> list[tuple[int, Any]]:
    rows = document.get(part, [])
    if not isinstance(rows, list):
        raise ConfigurationError(f"{part} of the price file must be a list of rows")
    return list(enumerate(rows, start=1))


def _rate(row: Any, number: int) -> Rate:
    place = f"row {number} of the price file's rates"
    _check(row, place, _RATE, texts=("rate", "per"))
    return Rate(name=row["rate"], usd=_amount(row, "usd", place), per=row["per"], verified=_verified(row, place))


def _node(row: Any, number: int) -> Node:
    place = f"row {number} of the price file's nodes"
    _check(row, place, _NODE, texts=("node",))
    hourly: dict[Engine, float] = {name: _amount(row, name, place) for name in get_args(Engine) if name in row}
    memory, vcpus = _amount(row, "memory_gib", place), _amount(row, "vcpus", place)
    if not hourly or not memory:
        raise ConfigurationError(f"{place} needs memory_gib above 0, and USD an hour under valkey or redis")
    if not isinstance(row.get("reservable", False), bool):
        raise ConfigurationError(f"{place}: reservable must be true or false")
    return Node(
        name=row["node"],
        memory_bytes=round(memory * 2**30),
        vcpus=int(vcpus),
        usd_per_hour=MappingProxyType(hourly),
        reservable=row.get("reservable", False),
        verified=_verified(row, place),
    )


def _reserved(row: Any) -> Reserved:
    place = "reserved of the price file"
    _check(row, place, _RESERVED, texts=())
    at_most, years = _amount(row, "at_most", place), _amount(row, "years", place)
    if at_most > 1 or years < 1:
        raise ConfigurationError(f"{place}: at_most must be in 0..1, and years 1 or more")
    return Reserved(at_most=at_most, years=int(years), verified=_verified(row, place))


def _check(row: Any, place: str, known: frozenset[str], *, texts: tuple[str, ...]) -> None:
    if not isinstance(row, dict):
        raise ConfigurationError(f"{place} must be a JSON object")
    unknown = sorted(row.keys() - known)
    if unknown:
        raise ConfigurationError(f"{place} has unknown fields: {', '.join(unknown)}")
    for name in texts:
        if not isinstance(row.get(name), str) or not row[name]:
            raise ConfigurationError(f"{place} needs {name}, a text")


def _amount(row: Mapping[str, Any], name: str, place: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"{place} needs {name}, a number of 0 or more")
    return float(value)


def _verified(row: Mapping[str, Any], place: str) -> bool:
    verified = row.get("verified", False)
    if not isinstance(verified, bool):
        raise ConfigurationError(f"{place}: verified must be true or false")
    return verified
