"""The models that the stand-in knows, and what it says about those that it doesn't."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from yamabiko.testing.bedrock.faults import Refused, invalid

Kind: TypeAlias = Literal["titan_v2", "titan_g1", "cohere_v3", "cohere_v4", "chat", "rerank"]

_REGIONS = re.compile(r"(?:jp|us|eu|apac|au|global|us-gov)\.")
_ARN = re.compile(
    r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:(?:[0-9]{12})?:(foundation-model|inference-profile)/(.+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockModel:
    """A model of the catalogue.

    ``checkpoint_tokens`` is the least that a prompt-cache checkpoint must cover (None: no prompt caching);
    ``profile_only`` models are invoked through an inference profile (``jp.``, ``us.``, ``global.`` and so on before
    the id); ``retired`` is the day (``YYYY-MM-DD``) from which on it is gone; ``window_tokens`` is its context window
    as this stand-in counts tokens.
    """

    id: str
    kind: Kind = "chat"
    checkpoint_tokens: int | None = None
    profile_only: bool = False
    retired: str | None = None
    window_tokens: int = 200_000


CATALOGUE: tuple[BedrockModel, ...] = (
    BedrockModel(id="amazon.titan-embed-text-v2:0", kind="titan_v2"),
    BedrockModel(id="amazon.titan-embed-text-v1", kind="titan_g1"),
    BedrockModel(id="cohere.embed-english-v3", kind="cohere_v3"),
    BedrockModel(id="cohere.embed-multilingual-v3", kind="cohere_v3"),
    BedrockModel(id="cohere.embed-v4:0", kind="cohere_v4"),
    BedrockModel(id="cohere.rerank-v3-5:0", kind="rerank"),
    BedrockModel(id="amazon.rerank-v1:0", kind="rerank"),
    BedrockModel(id="anthropic.claude-3-haiku-20240307-v1:0", retired="2026-09-10"),
    BedrockModel(
        id="anthropic.claude-3-5-haiku-20241022-v1:0",
        checkpoint_tokens=2_048,
        retired="2026-06-19",
    ),
    BedrockModel(id="anthropic.claude-haiku-4-5-20251001-v1:0", checkpoint_tokens=4_096, profile_only=True),
    BedrockModel(id="anthropic.claude-sonnet-4-5-20250929-v1:0", checkpoint_tokens=1_024, profile_only=True),
    BedrockModel(id="anthropic.claude-sonnet-4-6", checkpoint_tokens=2_048, profile_only=True),
    BedrockModel(id="amazon.nova-micro-v1:0", checkpoint_tokens=1_000),
    BedrockModel(id="amazon.nova-lite-v1:0", checkpoint_tokens=1_000),
    BedrockModel(id="amazon.nova-pro-v1:0", checkpoint_tokens=1_000),
    BedrockModel(id="amazon.nova-2-lite-v1:0"),
)
"""Source: Bedrock's model cards (read 2026-11-23); minimum tokens of a checkpoint: user guide, "Prompt caching"."""


class Catalogue:
    """Models by id, inference profile or ARN; later ones of the same id win."""

    def __init__(self, models: Iterable[BedrockModel]) -> None:
        self._models = {model.id: model for model in models}

    def resolve(self, identifier: str, *, now: float) -> BedrockModel:
        """The model that ``identifier`` stands for.

        Raises ``Refused``: an unknown id, one that needs an inference profile, or one that is retired at ``now``.
        """
        arn = _ARN.fullmatch(identifier)
        name = arn[2] if arn else identifier
        bare = _REGIONS.sub("", name, count=1) if _REGIONS.match(name) else name
        model = self._models.get(bare)
        if model is None or (arn and (arn[1] == "inference-profile") != (bare != name)):
            raise invalid("The provided model identifier is invalid.")
        if model.retired is not None and time.strftime("%Y-%m-%d", time.gmtime(now)) >= model.retired:
            raise Refused(
                "ResourceNotFoundException",
                "This model version has reached the end of its life. Please refer to the AWS documentation for more"
                " details.",
            )
        if model.profile_only and bare == name:
            raise invalid(
                f"Invocation of model ID {bare} with on-demand throughput isn't supported. Retry your request with the"
                " ID or ARN of an inference profile that contains this model."
            )
        return model
