"""Settings to verifiers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from yamabiko.build.models import bedrock_access, load_prices
from yamabiko.core.economics import Prices
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Embedder, Graded
from yamabiko.settings import Settings
from yamabiko.types import Candidate, Request


class OwnVerifier(Graded, Protocol):
    """A verifier that the settings have made, and that is closed with the cache."""

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """See ``Verifier.same``."""

    async def close(self) -> None:
        """Let go of threads and connections. May be called twice."""


def make_verifier(
    settings: Settings, embedder: Embedder | None, *, learning: bool, prices: Prices | None = None
) -> OwnVerifier | None:
    """The verifier that the settings name; None for "off", without an embedder, and for "auto" where none is for it.

    ``learning``: whether labels are made here. Raises ``ConfigurationError`` or ``MissingExtra``.
    """
    wanted = settings.verifier
    if embedder is None or not settings.policy.semantic:
        return None
    match wanted.kind:
        case "off":
            return None
        case "auto":
            return _on_device(settings, embedder) if _is_on_device(embedder) else None
        case "path":
            from yamabiko.verifiers.cross_encoder import CrossEncoder

            return CrossEncoder(
                embedder, path=wanted.path, threads=wanted.threads, timeout_seconds=wanted.timeout_seconds
            )
        case "judge":
            return _judge(settings, _is_graded(settings, learning), prices)
        case "rerank":
            return _rerank(settings, _is_graded(settings, learning))


def _is_on_device(embedder: Embedder) -> bool:
    from yamabiko.embedders.ondevice import OnDeviceEmbedder

    return isinstance(embedder, OnDeviceEmbedder)


def _on_device(settings: Settings, embedder: Embedder) -> OwnVerifier | None:
    from yamabiko.verifiers.cross_encoder import CrossEncoder, is_shipped

    if not is_shipped():
        return None
    wanted = settings.verifier
    return CrossEncoder(embedder, threads=wanted.threads, timeout_seconds=wanted.timeout_seconds)


def _is_graded(settings: Settings, learning: bool) -> bool:
    """Whether its word is weighed under the certificate, or decides alone. Raises ``ConfigurationError``."""
    if settings.policy.verify_similarity is not None:
        return False
    if settings.policy.max_error_rate is not None and learning:
        return True
    raise ConfigurationError(
        f"verifier.kind {settings.verifier.kind} would never be asked: give a judge for labels (learn.judge_url), which"
        " certify what is served by it, or policy.verify_similarity, from which on it decides without a promise"
    )


def _judge(settings: Settings, graded: bool, prices: Prices | None) -> OwnVerifier:
    from yamabiko.generators.http import HttpModel
    from yamabiko.verifiers.judge import JudgeVerifier

    wanted, learn = settings.verifier, settings.learn
    url, name = (wanted.url, wanted.model) if wanted.url else (learn.judge_url, learn.judge_model)
    if not url:
        raise ConfigurationError("verifier.kind judge needs verifier.url and verifier.model, or learn.judge_url")
    key = wanted.api_key if wanted.url else learn.judge_api_key
    model = HttpModel(url, name, api_key=key or None, timeout_seconds=wanted.timeout_seconds)
    return JudgeVerifier(
        model,
        model=name,
        timeout_seconds=wanted.timeout_seconds,
        prices=prices or load_prices(settings.prices_path),
        graded=graded,
        close_model=model.close,
    )


def _rerank(settings: Settings, graded: bool) -> OwnVerifier:
    from yamabiko.aws.bedrock import BedrockAgent
    from yamabiko.verifiers.rerank import RerankVerifier

    wanted = settings.verifier
    agent = BedrockAgent(bedrock_access(settings.bedrock, timeout_seconds=wanted.timeout_seconds, agent=True))
    return RerankVerifier(
        agent, wanted.model, timeout_seconds=wanted.timeout_seconds, graded=graded, close_agent=agent.close
    )


def closes(*parts: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]] | None:
    """One call that closes all of them; None where there are none."""
    if not parts:
        return None

    async def close() -> None:
        for part in parts:
            await part()

    return close
