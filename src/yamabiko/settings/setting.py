"""One setting: what it is called, what it may be, what it means; and the settings of one part of the tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from yamabiko.errors import ConfigurationError
from yamabiko.settings.policy import POLICY
from yamabiko.types import Policy
from yamabiko.units import parse_bytes, parse_seconds, parse_switch

PREFIX = "YAMABIKO_"
_HOW = MappingProxyType({"bytes": "in bytes or as in 512MiB", "seconds": "in seconds or as in 1h30m"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One leaf of the tree: dotted ``name``, type (without its None where ``optional``), ``default`` and metadata."""

    name: str
    kind: Any
    optional: bool
    default: object
    secret: bool
    doc: str
    unit: str
    range: tuple[float | None, float | None]

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        low, high = self.range
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(self.kind, "")
        words = words or (" or ".join(get_args(self.kind)) if self._is(Literal) else f"name={self.unit} pairs")
        bounds = (
            f"at least {low:g}" if high is None and low is not None else f"from {low:g} to {high:g}" if high else ""
        )
        detail = (words, _HOW.get(self.unit, ""), bounds, "or none" if self.optional else "")
        return ", ".join(filter(None, detail))

    def read(self, raw: object, source: str) -> object:
        """The value that ``raw`` means: text is parsed, then type and range are checked."""
        try:
            value = self._parsed(raw.strip()) if isinstance(raw, str) else raw
        except (ValueError, OverflowError):
            self.refuse(raw, source)
        if not self.fits(value):
            self.refuse(raw, source)
        return float(value) if self.kind is float and isinstance(value, int) else value

    def _parsed(self, text: str) -> object:
        if self.optional and text.lower() == "none":
            return None
        if self.kind is bool:
            return parse_switch(text)
        if self.kind is int:
            return parse_bytes(text) if self.unit == "bytes" else int(text)
        if self.kind is float:
            return parse_seconds(text) if self.unit == "seconds" else float(text)
        if self._is(Mapping):
            pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
            return {name.strip(): family.strip() for name, family in pairs}
        return text

    def _is(self, origin: object) -> bool:
        return get_origin(self.kind) is origin

    def fits(self, value: object) -> bool:
        """Whether type and range are right."""
        if value is None:
            return self.optional
        if self._is(Literal):
            return value in get_args(self.kind)
        if self._is(Mapping):
            return isinstance(value, Mapping) and all(isinstance(x, str) and x for pair in value.items() for x in pair)
        if self.kind not in (int, float):
            return isinstance(value, self.kind)
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float):
            return False
        low, high = self.range
        return (low is None or value >= low) and (high is None or value <= high)

    def refuse(self, value: object, source: str) -> NoReturn:
        """Say what would have fitted. A text may be a secret: only its type is named."""
        got = type(value).__name__ if self.kind is str else f"{value!r:.60}"
        raise ConfigurationError(f"{self.name} ({source}) must be {self.allowed}; got {got}")


@cache
def settings_of(part: Any, prefix: str) -> Mapping[str, Setting]:
    """The leaves of one part of the tree by their dotted names, in the order of the documentation."""
    known = {}
    hints = get_type_hints(part)
    for leaf in fields(part):
        about = POLICY[leaf.name] if part is Policy else leaf.metadata
        if about:
            optional = NoneType in get_args(hints[leaf.name])
            known[prefix + leaf.name] = Setting(
                name=prefix + leaf.name,
                kind=get_args(hints[leaf.name])[0] if optional else hints[leaf.name],
                optional=optional,
                default={} if leaf.default is MISSING else leaf.default,
                secret=not leaf.repr,
                **about,
            )
    return MappingProxyType(known)


def check(part: Any, prefix: str) -> None:
    """Types and ranges of a part that was made by hand. Raises ``ConfigurationError``."""
    for name, setting in settings_of(part.__class__, prefix).items():
        value = getattr(part, name.removeprefix(prefix))
        if not setting.fits(value):
            setting.refuse(value, "argument")
