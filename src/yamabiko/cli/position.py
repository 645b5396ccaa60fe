"""Where a namespace stands: what labels of a cache's own traffic have shown, or what the package has."""

from __future__ import annotations

from yamabiko.build import locate
from yamabiko.cli.opening import no_cache
from yamabiko.cli.standing import Opened, opened
from yamabiko.core.shipped import BUDGET_SHARE, shipped_threshold
from yamabiko.core.states import Position, State
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.learn.namespaces import namespace_of
from yamabiko.settings import Settings
from yamabiko.types import Policy


async def position_for(settings: Settings, model: str, *, tenant: str, category: str) -> Position:
    """What holds for questions that a model embeds: in the cache of the settings where they name one.

    Raises ``ConfigurationError`` where there is no such cache, and ``StoreError``.
    """
    namespace = namespace_of(model, tenant, category)
    if "url" not in settings.sources or settings.policy.max_error_rate is None:
        return shipped_position(model, settings.policy, namespace)
    location = locate(settings)
    recorded = await location.recorded()
    if recorded is None:
        raise no_cache(location)
    async with opened(settings, RecordedEmbedder(*recorded)) as cache:
        return await position_in(cache, namespace)


async def position_in(cache: Opened, namespace: str) -> Position:
    """What holds in an open cache."""
    return await (await cache.standings(namespace)).of(namespace)


def shipped_position(model: str, policy: Policy, namespace: str) -> Position:
    """What holds where there are no labels yet."""
    if policy.max_error_rate is None:
        reason = "the policy has min_similarity alone, and promises nothing"
        return Position(namespace=namespace, state=State.SERVING, threshold=0.0, calibration="none", reason=reason)
    found = shipped_threshold(model, policy.max_error_rate, policy.confidence)
    if found is None:
        reason = f"nobody measured {model} well enough for {policy.max_error_rate:.2%} wrong per {policy.on}"
        return Position(
            namespace=namespace,
            state=State.SHADOW,
            threshold=None,
            calibration="none",
            reason=f"{reason}: labels of its own traffic are needed",
        )
    seen = f"{found.wrong} of {found.trials} pairs were wrong"
    return Position(
        namespace=namespace,
        state=State.SERVING,
        threshold=found.threshold,
        calibration="uncalibrated",
        reason=f"public data, where {seen}, at {BUDGET_SHARE:.0%} of the budget",
    )
