"""Which experiments there are: one small value that all workers share, and what a treatment changes of a policy."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Self

import msgspec

from yamabiko.core.experiment import Experiment
from yamabiko.core.guards import GUARDS
from yamabiko.errors import ConfigurationError
from yamabiko.policy import Policy
from yamabiko.settings import known_settings
from yamabiko.types import Request

STATE = "experiments"
"""The name of the value that holds a ``Registry``."""

FIRST = 20
"""So many requests of each caller count: its first ones."""

MAX_KEPT = 200
"""How many experiments, stopped ones included, are kept; beyond that the oldest is forgotten."""

MAX_CHANGES = 2000
"""How many characters the changes of a treatment may have."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_OF_THE_KEY = "it is part of what two requests must share, and both arms must find the same answers"
_OF_THE_ENTRY = "it is settled when an answer is stored, and both arms are served from the same answers"
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("model_families", "users", "require_tenant"), _OF_THE_KEY),
        **dict.fromkeys(("ttl_seconds", "stale_seconds", "confirm"), _OF_THE_ENTRY),
    }
)


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment as it was started.

    ``key``: secret bytes by which callers are dealt to the arms and named in the records. ``changes``: what the
    treatment changes of the policy, as text (see ``changed``). ``share``, ``confidence`` and ``expected_hit_rate``:
    see ``core.experiment.Experiment``. ``window_seconds``: of each caller the first requests within so long count.
    Times are seconds UTC epoch: ``counted_from``: nothing before is counted; ``stopped``: None while it runs.
    """

    name: str
    key: bytes
    changes: str
    share: float
    confidence: float
    expected_hit_rate: float
    window_seconds: float
    started: float
    counted_from: float
    stopped: float | None = None

    def __repr__(self) -> str:
        return f"Definition(name={self.name!r}, changes={self.changes!r}, stopped={self.stopped!r})"

    @property
    def design(self) -> Experiment:
        """How callers are dealt and what is concluded. Raises ``ConfigurationError``."""
        return Experiment(
            name=self.name,
            key=self.key,
            share=self.share,
            confidence=self.confidence,
            expected_hit_rate=self.expected_hit_rate,
        )

    def digest_of(self, caller: str) -> str:
        """The caller as the records name it: 16 hexadecimal digits that mean nothing without the key."""
        named = b"yamabiko.experiment.caller.1:" + caller.encode("utf-8", "surrogatepass")
        return hmac.digest(self.key, named, "sha256")[:8].hex()


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """All experiments of a cache, in the order in which they were started; at most the last one runs."""

    experiments: tuple[Definition, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """What ``encode`` gave. Raises ``ConfigurationError`` for anything else."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError:
            raise ConfigurationError(
                "what the cache holds of its experiments can't be read: was it written by a newer version?"
            ) from None

    def encode(self) -> bytes:
        """As it is stored."""
        return msgspec.json.encode(self)

    @property
    def running(self) -> Definition | None:
        """The one that is under way."""
        return next((one for one in self.experiments if one.stopped is None), None)

    def named(self, name: str) -> Definition:
        """The experiment with this name. Raises ``ConfigurationError``, with the names that there are."""
        found = next((one for one in self.experiments if one.name == name), None)
        if found is None:
            known = ", ".join(one.name for one in self.experiments[-10:])
            raise ConfigurationError(
                f"there is no experiment {name!r:.60}: " + (f"there are {known}" if known else _START)
            )
        return found

    def started(self, definition: Definition) -> tuple[Self, tuple[str, ...]]:
        """With one more, and the names of those that are forgotten for it. Raises ``ConfigurationError``."""
        if self.running is not None:
            raise ConfigurationError(
                f"the experiment {self.running.name} is running, and a cache has one at a time: stop it first, with "
                f"`yamabiko experiment stop {self.running.name}`"
            )
        if any(one.name == definition.name for one in self.experiments):
            raise ConfigurationError(
                f"there was an experiment {definition.name} already, whose report is kept: choose another name"
            )
        kept = (*self.experiments, definition)
        forgotten = tuple(one.name for one in kept[:-MAX_KEPT])
        return msgspec.structs.replace(self, experiments=kept[-MAX_KEPT:]), forgotten

    def stopped(self, name: str, now: float) -> Self:
        """With this one stopped; the same where it was. Raises ``ConfigurationError`` where there is none."""
        found = self.named(name)
        if found.stopped is not None:
            return self
        ended = msgspec.structs.replace(found, stopped=now)
        return msgspec.structs.replace(
            self, experiments=tuple(ended if one is found else one for one in self.experiments)
        )


_START = "start one with `yamabiko experiment start NAME --set max_error_rate=0.05`"


def check(definition: Definition, policy: Policy) -> None:
    """Raises ``ConfigurationError`` where this can't be run on a cache with this policy, and says what to change."""
    if not _NAME.fullmatch(definition.name):
        raise ConfigurationError(
            "an experiment's name has 1 to 32 letters, digits, dots, dashes or underscores, not "
            f"{definition.name!r:.60}"
        )
    if not 1 <= definition.window_seconds <= 30 * 86400:
        raise ConfigurationError(f"the window must be 1 second to 30 days, not {definition.window_seconds:g} seconds")
    if not definition.started <= definition.counted_from <= definition.started + 90 * 86400:
        raise ConfigurationError("the warm-up must be 0 seconds to 90 days")
    design = definition.design
    design.arm_of("checked")
    changed(policy, definition.changes)


def caller_of(request: Request) -> str:
    """Who asks: tenant and user, or the tenant where no user is named. Empty where neither is: nobody to tell apart."""
    if not request.user:
        return f"tenant:{request.tenant}" if request.tenant else ""
    return f"user:{len(request.tenant)}:{request.tenant}{request.user}"


def changed(policy: Policy, changes: str) -> Policy:
    """The policy with changes, given as text: ``max_error_rate=0.05,candidates=8,guards.numbers=feature``.

    Names and values are those of the settings ``policy.*``. Raises ``ConfigurationError`` for what does not exist, is
    out of range, or must not differ between two arms.
    """
    if len(changes) > MAX_CHANGES:
        raise ConfigurationError(f"the changes have {len(changes)} characters; {MAX_CHANGES} are allowed")
    values: dict[str, Any] = {}
    guards: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in changes.split(","))):
        name, equals, text = (part.strip() for part in pair.partition("="))
        name = name.removeprefix("policy.")
        if not equals or not name or not text:
            raise ConfigurationError(f"{pair!r:.60} is no change: write name=value, as in max_error_rate=0.05")
        if name in values or name.removeprefix("guards.") in guards:
            raise ConfigurationError(f"{name} is given twice: leave one out")
        if name.startswith("guards."):
            guards[_guard(name.removeprefix("guards."))] = text
        else:
            values[name] = _value(name, text)
    if not values and not guards:
        raise ConfigurationError("say what the treatment changes, as in max_error_rate=0.05")
    if guards:
        values["guards"] = {**policy.guards, **guards}
    return replace(policy, **values)


def _guard(name: str) -> str:
    if name.rpartition("/")[2] not in GUARDS:
        raise ConfigurationError(f"there is no guard {name!r:.60}: the guards are {', '.join(GUARDS)}")
    return name


def _value(name: str, text: str) -> object:
    if name in _REFUSED:
        raise ConfigurationError(f"{name} can't differ between the arms of an experiment: {_REFUSED[name]}")
    setting = known_settings().get(f"policy.{name}")
    if name == "guards" or setting is None:
        fit = [known.removeprefix("policy.") for known in known_settings() if known.startswith("policy.")]
        named = ", ".join(known for known in fit if known not in _REFUSED and known != "guards")
        raise ConfigurationError(f"there is no {name!r:.60} to change: there are {named}, and guards.NAME")
    return setting.read(text, "experiment")
