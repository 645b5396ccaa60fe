"""What ``train-verifier`` is fed with: the cache, its verifier, and labels that this verifier has a word on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from yamabiko.build.verifiers import OwnVerifier, make_verifier
from yamabiko.cli.judging import Judged as Weighed
from yamabiko.cli.judging import judge_pairs
from yamabiko.cli.opening import embedder_to_embed_with
from yamabiko.cli.pairs_file import Pair, read_pairs
from yamabiko.cli.standing import Opened, opened
from yamabiko.cli.weighing import modes_for
from yamabiko.core.mixing import A_NO, final_score, is_grey
from yamabiko.core.refit import Judged
from yamabiko.errors import ConfigurationError
from yamabiko.learn.namespaces import namespace_of
from yamabiko.learn.records import digest_of
from yamabiko.learn.trained import Kept, judged_of
from yamabiko.learn.versions import versions_of
from yamabiko.ports import Embedder, Mix
from yamabiko.settings import Settings
from yamabiko.types import Candidate, Entry, Question, Reply, Request, Scope

_TEXTS = ("a", "あ")


@asynccontextmanager
async def with_verifier(
    settings: Settings,
) -> AsyncIterator[tuple[Opened, OwnVerifier, Embedder, list[str]]]:
    """The cache, its verifier, its embedder, and the models that this has. Raises ``ConfigurationError``."""
    embedder = embedder_to_embed_with(settings, "yamabiko train-verifier")
    verifier = make_verifier(settings, embedder, learning=True)
    if verifier is None:
        raise ConfigurationError(
            "this cache has no verifier (verifier.kind, docs/verifier.md): there is nothing whose word could be weighed"
        )
    try:
        async with opened(settings, embedder) as cache:
            yield cache, verifier, embedder, sorted({embedder.model_for(text) for text in _TEXTS})
    finally:
        await verifier.close()
        await embedder.close()


async def audits_of(cache: Opened, model: str, kept: Kept, own: Mix) -> list[Judged]:
    """The labels that the cache has made itself while this verifier had a say, by whichever weights."""
    mixes = [None, own, *(fit.mix() for fit in kept.fits if fit.verifier == own.name)]
    versions = {digest_of(versions_of(model, cache.settings.policy, mix)) for mix in mixes}
    return judged_of(await cache.items(namespace_of(model, "", "")), own.name, versions)


async def pairs_of(file: str, settings: Settings, verifier: OwnVerifier, embedder: Embedder) -> dict[str, list[Judged]]:
    """The pairs that no guard vetoes and the verifier can read, by the model that embeds them, in the file's order."""
    judged = await judge_pairs(read_pairs(file), _Lent(embedder), modes_for(settings.policy))
    found: dict[str, list[Judged]] = {}
    for model, pairs in judged.items():
        for one in pairs:
            if one.weighed.vetoes:
                continue
            said = await verifier.log_odds(Request(one.pair.b), [_candidate(one, model)])
            if said[0] is not None:
                found.setdefault(model, []).append(
                    Judged(id=one.pair.id, alone=one.weighed.score, log_odds=said[0], correct=one.pair.correct)
                )
    return found


async def rescored(judged: Sequence[Weighed], model: str, verifier: OwnVerifier, mix: Mix) -> list[Weighed]:
    """The pairs with their final scores; what is grey and gets no word is out."""
    found = []
    for one in judged:
        score = one.weighed.score
        if is_grey(mix, score) and not one.weighed.vetoes:
            said = (await verifier.log_odds(Request(one.pair.b), [_candidate(one, model)]))[0]
            score = A_NO if said is None else final_score(mix, score, said)
        found.append(replace(one, weighed=replace(one.weighed, score=score)))
    return found


def _candidate(one: Weighed, model: str) -> Candidate:
    pair: Pair = one.pair
    scope = Scope(content=bytes(32), digest=bytes(32), tenant="", user="", model="", embedder=model)
    question = Question(digest=bytes(32), text=pair.a)
    entry = Entry(id=pair.id, scope=scope, questions=(question,), reply=Reply(text=""), created=0.0)
    return Candidate(entry=entry, similarity=one.weighed.similarity, score=one.weighed.score)


class _Lent:
    """The embedder for whoever closes it when done: it is still needed."""

    def __init__(self, embedder: Embedder) -> None:
        self.id, self.dim = embedder.id, embedder.dim
        self.model_for, self.embed = embedder.model_for, embedder.embed

    async def close(self) -> None:
        """Leaves it open."""
