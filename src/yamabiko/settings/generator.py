"""The part of the tree that says which model answers when the cache can't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from yamabiko.errors import ConfigurationError
from yamabiko.settings.policy import about
from yamabiko.settings.setting import check

_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "http": ("url", "model"),
        "anthropic": ("url", "model"),
        "converse": ("model",),
        "knowledge_base": ("model", "knowledge_base"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """The model that answers what the cache can't. Raises ``ConfigurationError``."""

    kind: Literal["none", "simulated", "http", "anthropic", "converse", "knowledge_base"] = field(
        default="none",
        metadata=about(
            "http: an OpenAI-compatible server; anthropic: Messages; converse: Bedrock; knowledge_base: Bedrock, from"
            " documents; simulated: no model"
        ),
    )
    url: str = field(default="", repr=False, metadata=about("root of the API, for http and anthropic"))
    model: str = field(default="", metadata=about("the model's name; on Bedrock its id, or an inference profile's"))
    api_key: str = field(default="", repr=False, metadata=about("its key, for http and anthropic; never shown"))
    knowledge_base: str = field(
        default="", metadata=about("id of the knowledge base whose documents Bedrock answers from")
    )
    max_documents: int = field(
        default=5, metadata=about("passages that are looked for in it, for one question", "passages", 1, 100)
    )
    guardrail: str = field(default="", metadata=about("id of Bedrock's guardrail for every request; empty: none"))
    guardrail_version: str = field(default="DRAFT", metadata=about("version of that guardrail"))
    min_cache_tokens: int | None = field(
        default=None,
        metadata=about("least prefix that Bedrock's prompt cache takes of the model; none: not used", "tokens", 1),
    )
    max_tokens: int | None = field(
        default=None, metadata=about("longest answer where a request sets none; none: as the API has it", "tokens", 1)
    )

    def __post_init__(self) -> None:
        check(self, "generator.")
        for name in _NEEDED.get(self.kind, ()):
            if not getattr(self, name):
                raise ConfigurationError(f'generator.{name} must be set where generator.kind is "{self.kind}"')
