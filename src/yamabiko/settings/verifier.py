"""How a second look at what the score leaves in doubt is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from yamabiko.errors import ConfigurationError
from yamabiko.settings.policy import about
from yamabiko.settings.setting import check


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """Which verifier looks at doubtful candidates (docs/verifier.md). Raises ``ConfigurationError``."""

    kind: Literal["auto", "off", "path", "judge", "rerank"] = field(
        default="off",
        metadata=about("auto: on this device, with its embedder; path: your model; judge: an LLM; rerank: on Bedrock"),
    )
    path: str = field(default="", metadata=about("folder of a verifier's model with its manifest, for path"))
    url: str = field(
        default="", repr=False, metadata=about("base URL of an OpenAI-compatible server, for judge; empty: learn's")
    )
    model: str = field(default="", metadata=about("name of the model, for judge; id or ARN, for rerank"))
    api_key: str = field(default="", repr=False, metadata=about("bearer token, for judge; never shown"))
    timeout_seconds: float = field(default=1.0, metadata=about("after that it has said no", "seconds", 0.001, 3600))
    threads: int = field(default=1, metadata=about("processor threads of a model on this device", "threads", 1, 64))

    def __post_init__(self) -> None:
        check(self, "verifier.")
        for name in {"path": ("path",), "rerank": ("model",)}.get(self.kind, ()):
            if not getattr(self, name):
                raise ConfigurationError(f'verifier.{name} must be set where verifier.kind is "{self.kind}"')
        if self.kind == "judge" and bool(self.url) != bool(self.model):
            raise ConfigurationError("verifier.url and verifier.model go together")
