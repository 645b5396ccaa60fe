"""Settings to Cache."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal

from yamabiko.attest import Attest
from yamabiko.build.locations import Given, Location, identity_of, locate
from yamabiko.build.models import load_prices, make_embedder, make_judge
from yamabiko.build.verifiers import OwnVerifier, closes, make_verifier
from yamabiko.cache import Cache
from yamabiko.core.economics import Prices
from yamabiko.core.signing import SigningKeys
from yamabiko.learn.learner import Learner
from yamabiko.ports import Embedder, Generate, Store, Verifier
from yamabiko.settings import Settings
from yamabiko.sync import SyncCache, awaitable
from yamabiko.telemetry import Hook
from yamabiko.types import Policy


class Opening:
    """A cache about to be opened: ``async with open_cache(...) as cache``, or ``cache = await open_cache(...)``."""

    def __init__(self, make: Callable[[], Awaitable[Cache]]) -> None:
        self._make = make
        self._cache: Cache | None = None

    def __await__(self) -> Generator[Any, None, Cache]:
        return self._make().__await__()

    async def __aenter__(self) -> Cache:
        self._cache = await self._make()
        return self._cache

    async def __aexit__(self, *_: object) -> None:
        if self._cache is not None:
            await self._cache.close()


def open_cache(
    url: str | None = None,
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
    store: Store | None = None,
    embedder: Embedder | Literal["local", "titan", "cohere", "none"] | None = None,
    verifier: Verifier | None = None,
    judge: Generate | None = None,
    hooks: Sequence[Hook] = (),
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
) -> Opening:
    """A cache at ``url``: ``sqlite:///file.db``, ``memorydb://host``, ``valkey://host``, ``redis://host``, ``memory://``.

    Settings of the store may stand in the URL: ``?durability=full&max_bytes=1GiB`` and the like.

    What is given here overrides ``settings``; what neither gives is the default. The embedder is the one on this device
    unless another is given; ``"titan"`` and ``"cohere"`` are Bedrock's, ``"none"`` leaves the exact tier only.
    ``judge``, a model, compares stored answers with fresh ones: with it the cache audits its hits, learns from them and
    certifies its promise. ``verifier`` looks at what the score leaves in doubt; the settings name one by default, on
    this device where it has its weights. ``store`` takes the place of ``url`` for a store of your own. ``hooks`` get
    one Event per call. ``clock`` gives seconds UTC epoch.

    Raises, when opened, ``ConfigurationError`` (with the install command where a part is missing), ``StoreMismatch``
    for a cache made with another embedder, ``StoreUnavailable``.
    """
    settings = settings or Settings()
    chosen = replace(settings, url=url) if url is not None else settings

    async def make() -> Cache:
        location = locate(chosen) if store is None else Given(chosen.store, store)
        used_embedder: Embedder | None
        if embedder is None:
            used_embedder = make_embedder(chosen)
        elif isinstance(embedder, str):
            used_embedder = make_embedder(replace(chosen, embedder=replace(chosen.embedder, kind=embedder)))
        else:
            used_embedder = embedder
        used = replace(chosen, policy=policy or chosen.policy, store=location.settings)
        used_prices = prices or load_prices(chosen.prices_path)  # before the store: what fails leaves nothing open
        return await _assembled(
            used, location, used_embedder, used_prices, judge=judge, verifier=verifier, hooks=hooks, clock=clock
        )

    return Opening(make)


async def _assembled(
    settings: Settings,
    location: Location,
    embedder: Embedder | None,
    prices: Prices,
    *,
    judge: Generate | None,
    verifier: Verifier | None,
    hooks: Sequence[Hook],
    clock: Callable[[], float],
) -> Cache:
    keys = SigningKeys.parse(settings.signing_keys)
    own_judge = make_judge(settings.learn) if judge is None else None
    own_verifier: OwnVerifier | None = None
    if verifier is None:
        learning = judge is not None or own_judge is not None
        verifier = own_verifier = make_verifier(settings, embedder, learning=learning, prices=prices)
    store = await location.open(*identity_of(embedder))
    learner = Learner(
        store,
        embedder,
        policy=settings.policy,
        judge=judge or own_judge,
        settings=settings.learn,
        timeout_seconds=settings.store.timeout_seconds,
        hooks=hooks,
        clock=clock,
        sign=Attest(keys, None).alias,
        close_judge=closes(*(part.close for part in (own_judge, own_verifier) if part is not None)),
        verifier=verifier,
    )
    await learner.open()
    return Cache(
        store,
        embedder,
        policy=settings.policy,
        prices=prices,
        learner=learner,
        times=settings.store,
        embedder_timeout_seconds=settings.embedder.timeout_seconds,
        signing_keys=keys,
        verifier=verifier,
        hooks=hooks,
        clock=clock,
    )


def open_sync_cache(url: str | None = None, **options: Any) -> SyncCache:
    """A cache for code that does not await; arguments and errors are those of ``open_cache``.

    ``judge`` may be an ordinary function.
    """
    judge = options.get("judge")
    if judge is not None:
        options["judge"] = awaitable(judge)

    async def make() -> Cache:
        return await open_cache(url, **options)

    return SyncCache(make)
