"""What the user wants of the cache, and what one request does: frozen values, part of ``yamabiko.types``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from yamabiko.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the user wants of the cache.

    ``max_error_rate``: of the answers served by meaning, at most so many may be wrong, in (0, 0.5], with ``confidence``
    in [0.8, 1); ``on``: "hit" counts the wrong ones among those hits, "request" among all requests that reach the tier
    by meaning. None: no promise at all, and ``min_similarity`` alone decides.
    ``min_similarity``: cosine in [-1, 1] below which nothing is served by meaning, whatever its score.
    ``verify_similarity``: from here on the verifier is asked about candidates that may not be served without, where
    there is one. ``near_miss_margin``: how far below what is looked for a candidate is still reported.
    ``candidates``: how many are considered (1 to 100). ``semantic``: False leaves the exact tier only.
    ``users``: whom a user's answers are kept for: "always" that user alone, "personal" everybody in the tenant unless
    the question is about one person; "one": there is but one user, so that nothing is too personal to keep.
    ``confirm``: an answer is served to its author alone until the same answer was made for somebody else.
    ``ttl_seconds``: life of an answer (> 0, ``inf`` for ever; default 7 days). ``stale_seconds``: how long after that
    it may be served while it is renewed (>= 0). ``require_tenant``: a request without a tenant is never stored.
    ``model_families``: model names that share answers, as ``{"claude-haiku-2026-01": "haiku"}``.
    ``guards``: what a guard does, by its name, ``{"numbers": "veto"}``: ``veto`` forbids an answer where it finds a
    difference, ``feature`` only notes it, ``off`` does not look; guards that are not named have their defaults.
    ``{"billing/numbers": "feature"}`` says it for one category of requests.

    Raises ``ConfigurationError``.
    """

    max_error_rate: float | None = 0.05
    confidence: float = 0.95
    on: Literal["hit", "request"] = "hit"
    min_similarity: float | None = None
    verify_similarity: float | None = None
    near_miss_margin: float = 0.05
    candidates: int = 5
    semantic: bool = True
    ttl_seconds: float = 7 * 86400.0
    stale_seconds: float = 0.0
    require_tenant: bool = False
    users: Literal["always", "personal", "one"] = "always"
    confirm: bool = False
    model_families: Mapping[str, str] = field(default_factory=dict)
    guards: Mapping[str, Literal["veto", "feature", "off"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ranges = {
            "min_similarity": (-1, 1),
            "verify_similarity": (-1, 1),
            "near_miss_margin": (0, 2),
            "candidates": (1, 100),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigurationError(f"{name} must be in [{low}, {high}], not {value}")
        if self.max_error_rate is not None and not 0 < self.max_error_rate <= 0.5:
            raise ConfigurationError(f"max_error_rate must be in (0, 0.5], or None, not {self.max_error_rate}")
        if self.max_error_rate is None and self.min_similarity is None and self.semantic:
            raise ConfigurationError("without max_error_rate a policy needs min_similarity, or semantic=False")
        if not 0.8 <= self.confidence < 1:
            raise ConfigurationError(f"confidence must be in [0.8, 1), not {self.confidence}")
        for name, words in {"on": ("hit", "request"), "users": ("always", "personal", "one")}.items():
            if getattr(self, name) not in words:
                raise ConfigurationError(f"{name} must be {' or '.join(words)}, not {getattr(self, name)!r:.60}")
        if not self.ttl_seconds > 0:
            raise ConfigurationError(f"ttl_seconds must be above 0, not {self.ttl_seconds}")
        if not self.stale_seconds >= 0:
            raise ConfigurationError(f"stale_seconds must be 0 or more, not {self.stale_seconds}")
        for guard, mode in self.guards.items():
            if mode not in {"veto", "feature", "off"}:
                raise ConfigurationError(f"guards: {guard} must be veto, feature or off, not {mode!r:.60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What one request asks of the cache; the default asks nothing. It can forbid an answer, and never allow one.

    ``read``: stored answers may be used; where they may not, a new one is made for this request alone. ``store``: a new
    answer may be stored. ``forward``: a model may be asked; where it may not, a miss raises ``NotStored``.
    ``max_age_seconds``: no older answer will do (>= 0). ``stale``: one past its expiry will. ``semantic``: one to
    another wording will, if its cosine reaches ``min_similarity`` (in [-1, 1]) and the stated bound on its error is
    within ``max_error_rate`` (in (0, 0.5]). ``guards``: names and modes, ``(("numbers", "veto"),)``; a mode that is
    looser than the policy's changes nothing.

    Raises ``ConfigurationError``.
    """

    read: bool = True
    store: bool = True
    forward: bool = True
    max_age_seconds: float | None = None
    stale: bool = True
    semantic: bool = True
    min_similarity: float | None = None
    max_error_rate: float | None = None
    guards: tuple[tuple[str, Literal["veto", "feature"]], ...] = ()

    def __post_init__(self) -> None:
        if self.max_age_seconds is not None and not self.max_age_seconds >= 0:
            raise ConfigurationError(f"max_age_seconds must be 0 or more, not {self.max_age_seconds}")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise ConfigurationError(f"min_similarity must be in [-1, 1], not {self.min_similarity}")
        if self.max_error_rate is not None and not 0 < self.max_error_rate <= 0.5:
            raise ConfigurationError(f"max_error_rate must be in (0, 0.5], not {self.max_error_rate}")


PLAIN = Controls()
"""Asks nothing."""
