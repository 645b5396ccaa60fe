"""Settings to embedders, judges and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yamabiko.core.economics import Prices, parse
from yamabiko.core.tariff import Tariff, parse_tariff
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Embedder
from yamabiko.settings import BedrockSettings, LearnSettings, Settings

if TYPE_CHECKING:
    from yamabiko.aws.bedrock_calls import Access
    from yamabiko.generators.http import HttpModel


def load_prices(path: str = "") -> Prices:
    """The prices of the package, dated, under those of a file of the same form; raises ``ConfigurationError``."""
    prices = parse(_packaged_prices())
    return prices.overridden_by(parse(_own_prices(path))) if path else prices


def load_tariff(path: str = "") -> Tariff:
    """What infrastructure costs, from the same files. Raises ``ConfigurationError``."""
    tariff = parse_tariff(_packaged_prices())
    return tariff.overridden_by(parse_tariff(_own_prices(path))) if path else tariff


def _packaged_prices() -> str:
    from importlib.resources import files

    return files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8")


def _own_prices(path: str) -> str:
    from pathlib import Path

    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the price file {path} can't be read: {error.strerror}") from error


def make_judge(settings: LearnSettings) -> HttpModel | None:
    """The model that the settings name as judge; None where they name none. Raises ``MissingExtra``."""
    if not settings.judge_url:
        return None
    from yamabiko.generators.http import HttpModel

    return HttpModel(
        settings.judge_url,
        settings.judge_model,
        api_key=settings.judge_api_key or None,
        timeout_seconds=settings.judge_timeout_seconds,
    )


def make_embedder(settings: Settings) -> Embedder | None:
    """The embedder that the settings name; None for "none". Raises ``ConfigurationError`` or ``MissingExtra``."""
    wanted = settings.embedder
    match wanted.kind:
        case "none":
            return None
        case "local":
            from yamabiko.embedders.local import LocalEmbedder

            return LocalEmbedder(threads=wanted.threads)
        case "directory":
            from yamabiko.embedders.local import DirectoryEmbedder

            return DirectoryEmbedder(wanted.path, threads=wanted.threads)
        case "http":
            from yamabiko.embedders.http import HttpEmbedder

            if wanted.dim is None:
                raise ConfigurationError('embedder.dim must be set where embedder.kind is "http"')
            return HttpEmbedder(
                wanted.url,
                wanted.model,
                dim=wanted.dim,
                api_key=wanted.api_key or None,
                timeout_seconds=wanted.timeout_seconds,
            )
        case "titan" | "cohere":
            return _on_bedrock(settings)


def _on_bedrock(settings: Settings) -> Embedder:
    from yamabiko.aws.bedrock import BedrockRuntime
    from yamabiko.embedders.bedrock import CohereEmbedder, TitanEmbedder

    wanted = settings.embedder
    runtime = BedrockRuntime(bedrock_access(settings.bedrock, timeout_seconds=wanted.timeout_seconds))
    if wanted.kind == "titan":
        return TitanEmbedder(runtime, wanted.model or TitanEmbedder.MODEL, dim=wanted.dim)
    return CohereEmbedder(runtime, wanted.model or CohereEmbedder.MODEL, dim=wanted.dim, input_type=wanted.input_type)


def bedrock_access(settings: BedrockSettings, *, timeout_seconds: float | None = None, agent: bool = False) -> Access:
    """How Bedrock is reached. ``timeout_seconds``: for a whole call, instead of the settings'; no attempt is longer.

    ``agent``: for knowledge bases (``BedrockAgent``), which have an address of their own.
    """
    from yamabiko.aws.bedrock_calls import Access

    whole = settings.timeout_seconds if timeout_seconds is None else timeout_seconds
    return Access(
        region=settings.region,
        endpoint_url=settings.agent_endpoint_url if agent else settings.endpoint_url,
        profile=settings.profile or None,
        connect_timeout_seconds=min(settings.connect_timeout_seconds, whole),
        read_timeout_seconds=min(settings.read_timeout_seconds, whole),
        timeout_seconds=whole,
        attempts=settings.attempts,
        limit=settings.max_calls,
        early=settings.early,
    )
