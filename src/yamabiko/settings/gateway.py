"""The part of the tree that ``yamabiko serve`` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from yamabiko.errors import ConfigurationError
from yamabiko.settings.policy import about
from yamabiko.settings.setting import check

_RESERVED = frozenset({"v1", "yamabiko", "healthz", "readyz", "metrics"})
"""First parts of paths that are no upstream's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How ``yamabiko serve`` listens and whom it asks. Raises ``ConfigurationError``."""

    host: str = field(default="127.0.0.1", metadata=about("address to listen on"))
    port: int = field(default=8080, metadata=about("port to listen on; 0: any that is free", "", 0, 65535))
    upstreams: Mapping[str, str] = field(
        default_factory=dict,
        metadata=about(
            "whom to ask, by name: URLs, or bedrock:MODEL; /NAME/v1/... reaches each, /v1/... openai and anthropic;"
            " empty: those two",
            "URL",
        ),
    )
    upstream_keys: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata=about("API keys of upstreams, instead of the clients' own; never shown", "key"),
    )
    tenants_path: str = field(
        default="", metadata=about("table of keys and tenants (TOML); empty: each credential is a tenant of its own")
    )
    max_body_bytes: int = field(default=32 * 1024**2, metadata=about("longest request that is read", "bytes", 1024))
    max_reply_bytes: int = field(default=64 * 1024**2, metadata=about("longest reply that is read", "bytes", 1024))
    max_in_flight: int = field(
        default=1000, metadata=about("requests of one process at a time; more are told to wait", "requests", 1)
    )
    max_temperature: float | None = field(
        default=None, metadata=about("requests with a higher one bypass the cache; none: no bound", "", 0, 10)
    )
    body_timeout_seconds: float = field(
        default=30.0, metadata=about("how long a request's body may take", "seconds", 0.001, 3600)
    )
    connect_timeout_seconds: float = field(
        default=5.0, metadata=about("how long connecting to an upstream may take", "seconds", 0.001, 3600)
    )
    read_timeout_seconds: float = field(
        default=600.0, metadata=about("how long an upstream may be silent", "seconds", 0.001, 86400)
    )
    retries: int = field(default=1, metadata=about("new attempts where no byte of an answer came", "calls", 0, 10))
    drain_seconds: float = field(
        default=30.0, metadata=about("how long requests under way are waited for at the end", "seconds", 0, 3600)
    )
    replay_seconds: float = field(
        default=0.0, metadata=about("pause between the pieces of a stored stream; 0: none", "seconds", 0, 60)
    )
    access_log: bool = field(default=False, metadata=about("a line of JSON on standard output for each request"))
    traces: str = field(default="", metadata=about("root of an OTLP collector; empty: as OTEL_ variables say"))
    emf: bool = field(
        default=False,
        metadata=about("metrics for CloudWatch as lines on standard output; on Lambda with each invocation"),
    )
    emf_seconds: float = field(
        default=60.0, metadata=about("how often they are written elsewhere than on Lambda", "seconds", 1, 3600)
    )

    def __post_init__(self) -> None:
        check(self, "gateway.")
        for name, url in self.upstreams.items():
            if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?|bedrock:[A-Za-z0-9][A-Za-z0-9._:/-]*", url):
                raise ConfigurationError(
                    f"gateway.upstreams: {name!r:.40} must be the root of an API, such as https://api.openai.com/v1,"
                    " or bedrock: and the id of a model"
                )
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) or name in _RESERVED:
                raise ConfigurationError(f"gateway.upstreams: {name!r:.60} must be a short word in small letters")
