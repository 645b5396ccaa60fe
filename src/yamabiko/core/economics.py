"""What a generation costs, and so what a hit saves. Prices come as JSON text, so that nothing here reads a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from yamabiko.errors import ConfigurationError
from yamabiko.types import Usage

_ROUTES = r"(?:bedrock|converse|converse_like|invoke|openai|azure|anthropic|amazon|cohere|vertex_ai)/"
_PROFILE = r"(us-gov|us|eu|jp|apac|au|ca|global)\."
_VENDOR = r"(?:anthropic|amazon|cohere|openai|meta|mistral)\."
_SUFFIX = r"(?::\d+|-v\d+|@[\w.-]+|[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest)\Z"
_WRITES = ("cache_write", "cache_write_hour")
_ROW = frozenset({"model", "profiles", "input", "output", "cached_input", "note", "source", "verified", *_WRITES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per 1,000,000 tokens (>= 0). An embedder has an input price only."""

    input: float
    output: float = 0.0
    cached_input: float | None = None
    """What the provider asks for input that it had cached; None: the same as for other input."""

    cache_write: float | None = None
    cache_write_hour: float | None = None
    """What it asks for input that it takes into its cache, for five minutes and for an hour; None: as other input."""

    verified: bool = False
    """Whether somebody compared it with the vendor's own price list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices by model name, as of a date.

    A name may be written in any of its usual ways: with a route (``bedrock/``, ``openai/``), an inference profile
    (``us.``, ``eu.``, ``jp.``, ``apac.``, ``global.``), a vendor (``anthropic.``), a version (``-v1:0``) or a date. A
    profile without a row of its own is priced like the plain name, which is the lower price: savings are rather
    understated. Else the longest known name that this one continues counts, unless it continues with another version
    number: ``claude-sonnet-5-5`` is not a ``claude-sonnet-5``.
    """

    dated: str = ""
    models: Mapping[str, Price] = field(default_factory=dict)

    def known(self, model: str) -> bool:
        """Whether ``cost_usd`` knows this model, or its 0.0 only means that it does not."""
        return self.price(model) is not None

    def cost_usd(self, usage: Usage, model: str, *, written: tuple[int, int] = (0, 0)) -> float:
        """What these tokens cost in USD; 0.0 for an unknown model.

        ``written``: how much of the input the provider took into its cache, for five minutes and for an hour.
        """
        price = self.price(model)
        if price is None:
            return 0.0
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = price.input if price.cached_input is None else price.cached_input
        dollars = (usage.input_tokens - cached) * price.input + cached * cached_price
        for tokens, asked in zip(written, (price.cache_write, price.cache_write_hour), strict=True):
            dollars += 0.0 if asked is None else tokens * (asked - price.input)
        return (dollars + usage.output_tokens * price.output) / 1e6

    def price(self, model: str) -> Price | None:
        """The price of a model, or None."""
        names = _names(model)
        for name in names:
            if name in self.models:
                return self.models[name]
        for name in names:
            near = [known for known in self.models if _continues(name, known)]
            if near:
                return self.models[max(near, key=len)]
        return None

    def overridden_by(self, other: Prices) -> Prices:
        """These prices, with every model that ``other`` names priced by it alone, all its profiles included."""
        named = {re.sub(_PROFILE, "", name, count=1) for name in other.models}
        kept = {name: price for name, price in self.models.items() if re.sub(_PROFILE, "", name, count=1) not in named}
        return Prices(dated=other.dated or self.dated, models=MappingProxyType({**kept, **other.models}))


def _names(model: str) -> list[str]:
    """The ways in which a model may be listed, from the most to the least particular."""
    name = model.strip().lower()
    names = [name]
    while match := re.match(_ROUTES, name):
        name = name[match.end() :]
        names.append(name)
    profile = re.match(_PROFILE, name)
    plain = name[profile.end() :] if profile else name
    vendor = re.match(_VENDOR, plain)
    stems = [plain, plain[vendor.end() :]] if vendor else [plain]
    while match := re.search(_SUFFIX, stems[-1]):
        stems.append(stems[-1][: match.start()])
    if profile:
        names.extend(profile[0] + stem for stem in stems)
    return [name for name in dict.fromkeys(names + stems) if name]


def _continues(name: str, known: str) -> bool:
    """Whether a name is a known one with a suffix that is not another version number."""
    rest = name[len(known) :]
    return name.startswith(known) and re.match(r"[-.:@/](?!v?\d{1,3}(?:\D|\Z))", rest) is not None


def parse(text: str) -> Prices:
    """Prices from JSON: ``{"dated": "2026-11-23", "models": [{"model": ..., "input": ..., "output": ...}]}``.

    USD per 1,000,000 tokens. A row with ``profiles`` holds for these inference profiles only. ``cached_input``,
    ``cache_write``, ``cache_write_hour``, ``note``, ``source`` and ``verified`` (then false) may be left out. What else
    stands there is for ``core.tariff``: a file may have ``rates`` or ``nodes`` and no models. Raises
    ``ConfigurationError``.
    """
    try:
        document = json.loads(text)
    except ValueError:
        raise ConfigurationError("the price file is not JSON") from None
    rows = document.get("models") if isinstance(document, dict) else None
    if rows is None and isinstance(document, dict) and not document.keys().isdisjoint(("rates", "nodes")):
        rows = []
    if not isinstance(rows, list):
        raise ConfigurationError('the price file needs a list of rows: {"models": [{"model": ..., "input": ...}]}')
    models: dict[str, Price] = {}
    for number, row in enumerate(rows, start=1):
        for name, price in _priced(row, number):
            if name in models:
                raise ConfigurationError(f"price row {number} names {name} again")
            models[name] = price
    return Prices(dated=str(document.get("dated", "")), models=MappingProxyType(models))


def _priced(row: Any, number: int) -> list[tuple[str, Price]]:
    if not isinstance(row, dict) or not isinstance(row.get("model"), str) or not row["model"]:
        raise ConfigurationError(f"price row {number} needs the name of a model")
    unknown = sorted(row.keys() - _ROW)
    if unknown:
        raise ConfigurationError(f"price row {number} has unknown fields: {', '.join(unknown)}")
    profiles = row.get("profiles", [])
    if not isinstance(profiles, list) or not all(isinstance(profile, str) for profile in profiles):
        raise ConfigurationError(f"price row {number}: profiles must be a list of texts")
    amounts = {name: row[name] for name in ("input", "output", "cached_input", *_WRITES) if row.get(name) is not None}
    for name, value in amounts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigurationError(f"price row {number}: {name} must be USD per 1,000,000 tokens, 0 or more")
    if "input" not in amounts:
        raise ConfigurationError(f"price row {number} needs an input price")
    verified = row.get("verified", False)
    if not isinstance(verified, bool):
        raise ConfigurationError(f"price row {number}: verified must be true or false")
    price = Price(**{name: float(value) for name, value in amounts.items()}, verified=verified)
    name = row["model"].lower()
    return [(f"{profile.lower()}.{name}", price) for profile in profiles] if profiles else [(name, price)]
