"""The standings of a cache, for commands that show them or add labels."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Protocol

import msgspec

from yamabiko.build import locate, make_embedder
from yamabiko.build.verifiers import OwnVerifier, make_verifier
from yamabiko.cli.opening import closing
from yamabiko.core.calibrate import Judge
from yamabiko.core.shipped import ShippedThreshold, shipped_threshold, verified_threshold
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.flight import Background
from yamabiko.learn.namespaces import chain, embedder_of, namespace_of, root
from yamabiko.learn.records import NamespaceState, decode_standing, digest_of, log_name, promise_of, standing_name
from yamabiko.learn.report import LogRead
from yamabiko.learn.standings import Standings
from yamabiko.learn.trained import load_kept
from yamabiko.learn.versions import versions_of
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder, Logged, Mix, SharedState, Store
from yamabiko.settings import Settings

_PAGE = 1000
_EXPERIMENT = "/x:"
"""In the name of a treatment's namespace, whose policy is another: `yamabiko experiment status` tells of those."""
_EACH_SCRIPT = ("a", "あ", "漢", "한", "д", "ع", "ก", "क", "λ", "ש")
"""One text of each script that ``core.normalise`` knows: which model embeds it names a root namespace."""


class Made(Protocol):
    """Standings with or without labels being made, by the scores of a mix or by the score alone."""

    def __call__(self, learning: bool, mix: Mix | None = None, /) -> Standings:
        """The same ones each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A cache's store, and what is known of its namespaces."""

    store: Store
    shared: SharedState
    settings: Settings
    made: Made = field(repr=False)

    async def standings(self, namespace: str, mix: Mix | None = None) -> Standings:
        """The standings as the cache's own workers have them: whether they have a judge is seen by what they draw.

        ``mix``: by the scores that a verifier has a say in, with these weights; None: by the score alone.
        """
        known = [state for level in chain(namespace) if (state := await self.state(level)) is not None]
        learning = bool(self.settings.learn.judge_url) or any(state.drawing is not None for state in known)
        return self.made(learning, mix)

    async def state(self, namespace: str, mix: Mix | None = None) -> NamespaceState | None:
        """What is stored of a namespace under the promise and the versions in use; None where nothing is.

        Its labels are those of by now: workers save their count in steps. Raises ``ConfigurationError``.
        """
        stored = await self.shared.load_state(standing_name(namespace))
        if stored is None or self.settings.policy.max_error_rate is None:
            return None
        read, why = decode_standing(stored.data, namespace)
        if read is None:
            raise ConfigurationError(f"{why}: nothing is served there by meaning")
        versions = versions_of(embedder_of(namespace), self.settings.policy, mix)
        state = read.of(promise_of(self.settings.policy), versions)
        if state is None:
            return None
        later = LogRead(await self.items(namespace, after=state.cursor))
        more = later.labels_after(namespace, digest_of(versions), state.cursor, now=time.time())
        return msgspec.structs.replace(state, labels=state.labels + more)

    async def items(self, namespace: str, *, after: int = 0) -> list[Logged]:
        """The log of all labels under the root of a namespace, behind a position."""
        items: list[Logged] = []
        while True:
            last = items[-1].position if items else after
            page = await self.shared.read_log(log_name(root(namespace)), after=last, limit=_PAGE)
            items += page
            if len(page) < _PAGE:
                return items

    async def namespaces(self, roots: Sequence[str]) -> list[str]:
        """The roots, and every namespace under them of which the logs tell, parents before children."""
        found = set(roots)
        for name in roots:
            found |= LogRead(await self.items(name)).namespaces()
        return sorted(name for name in found if _EXPERIMENT not in name)


@asynccontextmanager
async def opened(settings: Settings, embedder: Embedder | RecordedEmbedder) -> AsyncIterator[Opened]:
    """The cache of the settings, for an embedder that is its own. Raises ``ConfigurationError`` and ``StoreError``."""
    async with closing(await locate(settings).open(embedder.id, embedder.dim)) as store:
        if not isinstance(store, SharedState):
            raise ConfigurationError("this store keeps no labels: take sqlite:///FILE or a server")
        shared: SharedState = store
        behind = Background()
        policy = settings.policy

        def shipped(mix: Mix | None, model: str) -> ShippedThreshold | None:
            rate = policy.max_error_rate
            if rate is None or mix is not None:
                return None if rate is None or mix is None else verified_threshold(mix, model, rate, policy.confidence)
            return shipped_threshold(model, rate, policy.confidence)

        @cache
        def made(learning: bool, mix: Mix | None = None) -> Standings:
            return Standings(
                shared,
                policy=policy,
                clock=time.time,
                learning=learning,
                shipped=partial(shipped, mix),
                versions=partial(versions_of, policy=policy, mix=mix),
                judge=Judge(false_accept=settings.learn.judge_false_accept),
                new_id=partial(secrets.token_hex, 16),
                spawn=behind.spawn,
            )

        try:
            yield Opened(store=store, shared=shared, settings=settings, made=made)
        finally:
            await behind.drain()


async def weights_of(cache: Opened, model: str, verifier: OwnVerifier | None) -> list[Mix]:
    """The weights of a verifier that may be in use for a model's candidates: a team's latest, and its own."""
    own = None if verifier is None else verifier.mix_for(model)
    if own is None:
        return []
    fit = (await load_kept(cache.shared, model))[0].in_use
    return [*([fit.mix()] if fit is not None and fit.verifier == own.name else []), own]


async def mixes_of(cache: Opened, recorded: RecordedEmbedder) -> dict[str, list[Mix]]:
    """By model, the weights of the cache's verifier that may be in use: its own, before them a team's latest."""
    settings = cache.settings
    try:
        embedder = make_embedder(settings)
        verifier = make_verifier(settings, embedder, learning=True) if embedder is not None else None
    except MissingExtra:
        return {}
    if embedder is None or verifier is None or embedder.id != recorded.id:
        return {}
    found: dict[str, list[Mix]] = {}
    for model in models_of(settings, recorded):
        found[model] = await weights_of(cache, model, verifier)
    await verifier.close()
    await embedder.close()
    return found


def models_of(settings: Settings, recorded: RecordedEmbedder) -> list[str]:
    """The models of a cache's embedder, as ``Embedder.model_for`` names them; each is a root namespace."""
    try:
        embedder = make_embedder(settings)
    except MissingExtra:
        embedder = None
    if embedder is None or embedder.id != recorded.id:
        models = {recorded.id}
    else:
        models = {embedder.model_for(text) for text in _EACH_SCRIPT}
    return sorted(models - {NO_EMBEDDER})


async def names_of(cache: Opened, models: Sequence[str], *, tenant: str, category: str) -> list[str]:
    """Every namespace of which the cache's labels tell; of a tenant or category its own, with its parents."""
    roots = [namespace_of(model, "", "") for model in models]
    if not tenant and not category:
        return await cache.namespaces(roots)
    return sorted({level for model in models for level in chain(namespace_of(model, tenant, category))})
