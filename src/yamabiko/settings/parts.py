"""The parts of the tree that a cache is made of: its store, its embedder, how it learns, how Bedrock is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from yamabiko.errors import ConfigurationError
from yamabiko.settings.policy import about
from yamabiko.settings.setting import check


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How the store keeps entries. Raises ``ConfigurationError``."""

    durability: Literal["normal", "full"] = field(
        default="normal",
        metadata=about("full: acknowledged after fsync; normal: a power cut may undo the last writes"),
    )
    max_bytes: int | None = field(
        default=None, metadata=about("evict beyond so much in replies, questions and vectors; none: never", "bytes", 1)
    )
    index_bytes: int = field(
        default=2 * 1024**3, metadata=about("memory that the vector indexes of one process may take", "bytes", 1)
    )
    timeout_seconds: float = field(
        default=5.0, metadata=about("after that a look-up counts the store as unavailable", "seconds", 0.001, 3600)
    )
    write_timeout_seconds: float = field(
        default=60.0, metadata=about("after that a write is given up", "seconds", 0.001, 3600)
    )
    claim_seconds: float = field(
        default=5.0,
        metadata=about(
            "of processes that share the store, one generates an answer for all; should it die, another takes over "
            "after so long; 0: each generates for itself",
            "seconds",
            0,
            3600,
        ),
    )
    claim_wait_seconds: float = field(
        default=30.0,
        metadata=about("how long an answer that another process is making is waited for", "seconds", 0, 3600),
    )
    accelerator: Literal["numpy", "faiss"] = field(
        default="numpy", metadata=about("what scans large scopes; faiss needs the extra of that name")
    )

    def __post_init__(self) -> None:
        check(self, "store.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What turns a question into a vector. Raises ``ConfigurationError``."""

    kind: Literal["local", "http", "directory", "titan", "cohere", "none"] = field(
        default="local",
        metadata=about(
            "local: on this device; directory: your model; http: a server; titan, cohere: on Bedrock; none: exact only"
        ),
    )
    path: str = field(default="", metadata=about("folder of an ONNX model with its tokenizer.json, for directory"))
    url: str = field(default="", repr=False, metadata=about("base URL of an OpenAI-compatible server, for http"))
    model: str = field(default="", metadata=about("name of the model, for http; its id, for titan and cohere"))
    dim: int | None = field(
        default=None,
        metadata=about("size of its vectors, for http; for titan and cohere none is 1024", "components", 1, 65536),
    )
    input_type: Literal["search_query", "search_document", "classification", "clustering"] = field(
        default="search_query",
        metadata=about("what cohere is told a text is: the same for stored questions and new ones"),
    )
    api_key: str = field(default="", repr=False, metadata=about("bearer token, for http; never shown"))
    timeout_seconds: float = field(
        default=10.0, metadata=about("after that a look-up goes on without a vector", "seconds", 0.001, 3600)
    )
    threads: int = field(default=1, metadata=about("processor threads of a model on this device", "threads", 1, 256))

    def __post_init__(self) -> None:
        check(self, "embedder.")
        for name in {"directory": ("path",), "http": ("url", "model", "dim")}.get(self.kind, ()):
            if not getattr(self, name):
                raise ConfigurationError(f'embedder.{name} must be set where embedder.kind is "{self.kind}"')


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSettings:
    """How the cache learns when it was wrong, where there is a judge. Raises ``ConfigurationError``."""

    judge_url: str = field(
        default="", repr=False, metadata=about("base URL of the OpenAI-compatible model that judges; empty: no judge")
    )
    judge_model: str = field(default="", metadata=about("name of that model"))
    judge_api_key: str = field(default="", repr=False, metadata=about("bearer token for it; never shown"))
    judge_false_accept: float = field(
        default=0.1,
        metadata=about(
            "so large a share of wrong answers the judge may let pass: the test allows for it", "share", 0, 0.9
        ),
    )
    per_minute: int = field(default=20, metadata=about("labels of one process in a minute", "labels", 0, 100_000))
    per_day: int = field(
        default=1000, metadata=about("labels of all processes in a day (UTC); 0: none", "labels", 0, 10_000_000)
    )
    similar_from: float | None = field(
        default=0.97,
        metadata=about("answers so similar are the same, if no guard objects; none: ask the judge", "cosine", 0, 1),
    )
    judge_timeout_seconds: float = field(
        default=60.0, metadata=about("after that the judge counts as unsure", "seconds", 0.001, 3600)
    )
    refresh_seconds: float = field(
        default=30.0, metadata=about("how soon one process sees what others have learned", "seconds", 0.001, 86400)
    )

    def __post_init__(self) -> None:
        check(self, "learn.")
        if self.judge_url and not self.judge_model:
            raise ConfigurationError("learn.judge_model must be set where learn.judge_url is")


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockSettings:
    """How Amazon Bedrock is reached, by embedders and by models. Raises ``ConfigurationError``."""

    region: str = field(default="", metadata=about("its region; empty: as AWS's own configuration says"))
    endpoint_url: str = field(
        default="", repr=False, metadata=about("another address of bedrock-runtime, such as a VPC endpoint's")
    )
    agent_endpoint_url: str = field(
        default="", repr=False, metadata=about("another address of bedrock-agent-runtime, for knowledge bases")
    )
    control_endpoint_url: str = field(
        default="", repr=False, metadata=about("another address of Bedrock itself, for batch jobs (warm --batch)")
    )
    profile: str = field(default="", metadata=about("profile of AWS's configuration; empty: the usual one"))
    connect_timeout_seconds: float = field(
        default=3.0, metadata=about("how long connecting may take", "seconds", 0.001, 3600)
    )
    read_timeout_seconds: float = field(
        default=60.0, metadata=about("how long the service may be silent", "seconds", 0.001, 3600)
    )
    timeout_seconds: float = field(
        default=120.0, metadata=about("how long an answer may take, with all attempts", "seconds", 0.001, 86400)
    )
    attempts: int = field(
        default=3, metadata=about("attempts in all where the service throttles or fails", "calls", 1, 10)
    )
    max_calls: int = field(default=50, metadata=about("calls of one process at a time; more wait", "calls", 1, 1000))
    early: bool = field(
        default=False, metadata=about("make its clients at the beginning, not with the first call; always so on Lambda")
    )

    def __post_init__(self) -> None:
        check(self, "bedrock.")
        for name in ("endpoint_url", "agent_endpoint_url", "control_endpoint_url"):
            if getattr(self, name) and not getattr(self, name).startswith(("https://", "http://")):
                raise ConfigurationError(f"bedrock.{name} must begin with https:// or http://")
