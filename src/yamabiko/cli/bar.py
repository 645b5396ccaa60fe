"""Which score an answer must reach: what labels of a cache's own traffic have shown, or what the package has."""

from __future__ import annotations

from dataclasses import dataclass

from yamabiko.build import locate
from yamabiko.cli.opening import RecordedEmbedder, no_cache
from yamabiko.cli.standing import Opened, opened
from yamabiko.core.shipped import BUDGET_SHARE, shipped_threshold
from yamabiko.core.states import State
from yamabiko.learn.namespaces import namespace_of
from yamabiko.settings import Settings
from yamabiko.types import Calibration, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The score from which on answers are served by meaning in a namespace (None: none are), and why."""

    namespace: str
    state: str
    threshold: float | None
    calibration: Calibration
    error_upper: float | None
    reason: str


async def bar_for(settings: Settings, model: str, *, tenant: str, category: str) -> Bar:
    """What holds for questions that a model embeds: in the cache of the settings where they name one.

    Raises ``ConfigurationError`` where there is no such cache, and ``StoreError``.
    """
    namespace = namespace_of(model, tenant, category)
    if "url" not in settings.sources or settings.policy.max_error_rate is None:
        return shipped_bar(model, settings.policy, namespace)
    location = locate(settings)
    recorded = await location.recorded()
    if recorded is None:
        raise no_cache(location)
    async with opened(settings, RecordedEmbedder(*recorded)) as cache:
        return await cached_bar(cache, model, tenant=tenant, category=category)


async def cached_bar(cache: Opened, model: str, *, tenant: str, category: str = "") -> Bar:
    """What holds in an open cache."""
    namespace = namespace_of(model, tenant, category)
    if cache.settings.policy.max_error_rate is None:
        return shipped_bar(model, cache.settings.policy, namespace)
    position = await (await cache.standings(namespace)).of(namespace)
    return Bar(
        namespace=namespace,
        state=position.state,
        threshold=position.threshold,
        calibration=position.calibration,
        error_upper=position.error_upper,
        reason=position.reason,
    )


def shipped_bar(model: str, policy: Policy, namespace: str) -> Bar:
    """What holds where there are no labels yet."""
    found, threshold, state = None, None, State.SHADOW
    if policy.max_error_rate is None:
        state, reason = State.SERVING, "the policy has min_similarity alone, and promises nothing"
    else:
        found = shipped_threshold(model, policy.max_error_rate, policy.confidence)
        reason = f"nobody measured {model} well enough for {policy.max_error_rate:.2%} wrong per {policy.on}"
        reason += ": labels of its own traffic are needed"
    if found is not None:
        seen = f"{found.wrong} of {found.trials} pairs were wrong"
        state, threshold = State.SERVING, found.threshold
        reason = f"public data, where {seen}, at {BUDGET_SHARE:.0%} of the budget"
    return Bar(
        namespace=namespace,
        state=state,
        threshold=threshold,
        calibration="none" if found is None else "uncalibrated",
        error_upper=None,
        reason=reason,
    )
