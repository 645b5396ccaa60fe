"""One frozen tree of settings, and where each value came from. Pure: mappings and text come in, nothing is read.

``Settings.load`` takes the strongest source that names a setting: argument, environment, TOML, default.

* arguments: dotted names (``{"store.max_bytes": 2**30}``), nested mappings, or whole parts (``{"policy": Policy()}``).
* environment: ``YAMABIKO_``, then the name in capitals with ``__`` for the dot: ``YAMABIKO_STORE__MAX_BYTES=512MiB``.
  An empty variable counts as not set. ``YAMABIKO_SETTINGS_FILE`` may name the TOML file; reading it is the caller's.
* TOML: one table for each part: ``[store]`` and ``max_bytes = "512MiB"``.

Text may say sizes (``512MiB``, ``1.5GB``), durations (``7d``, ``1h30m``, ``250ms``, ``inf``), ``true`` or ``false``,
``none`` where a setting may be absent, and ``name=family,name=family`` for ``policy.model_families`` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Literal, NoReturn, Self, get_args, get_origin, get_type_hints

from yamabiko.errors import ConfigurationError
from yamabiko.types import Policy
from yamabiko.units import in_words, parse_bytes, parse_seconds, parse_switch

PREFIX = "YAMABIKO_"
FILE_VARIABLE = "YAMABIKO_SETTINGS_FILE"
MASK = "********"
_NONE_GIVEN: Mapping[str, Any] = MappingProxyType({})
_RESERVED = frozenset({"v1", "yamabiko", "healthz", "readyz", "metrics"})
"""First parts of paths that are no upstream's name."""
_HOW = MappingProxyType({"bytes": "in bytes or as in 512MiB", "seconds": "in seconds or as in 1h30m"})


def _about(doc: str, unit: str = "", low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A setting's metadata: what it means, its unit, and the smallest and the largest number that it may be."""
    return {"doc": doc, "unit": unit, "range": (low, high)}


_POLICY = MappingProxyType(
    {
        "max_error_rate": _about(
            "of the answers served by meaning at most so many are wrong; none: no promise, min_similarity decides",
            "share",
            0.0001,
            0.5,
        ),
        "confidence": _about("how sure that is", "share", 0.8, 0.9999),
        "on": _about("hit: wrong ones among the hits by meaning; request: among all requests that look for one"),
        "min_similarity": _about("below this nothing is served by meaning, whatever its score", "cosine", -1, 1),
        "verify_similarity": _about("from here on the verifier is asked, where there is one", "cosine", -1, 1),
        "near_miss_margin": _about("how far below these a near miss is still reported", "cosine", 0, 2),
        "candidates": _about("how many stored entries are considered for one request", "entries", 1, 100),
        "semantic": _about("false: only the very same question is answered"),
        "ttl_seconds": _about("life of an answer; a hit never prolongs it", "seconds", 0.001),
        "stale_seconds": _about("how long after that it may be served while it is renewed", "seconds", 0),
        "users": _about("a user's answers are for that user alone always, or where personal; one: there is only one"),
        "confirm": _about("an answer is its author's alone until the same was made for somebody else"),
        "require_tenant": _about("a request without a tenant is a miss and not stored"),
        "model_families": _about("models that share answers, each with the name of its family", "family"),
        "guards": _about("what a guard does where it finds a difference: veto, feature or off", "mode"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How the store keeps entries. Raises ``ConfigurationError``."""

    durability: Literal["normal", "full"] = field(
        default="normal",
        metadata=_about("full: acknowledged after fsync; normal: a power cut may undo the last writes"),
    )
    max_bytes: int | None = field(
        default=None, metadata=_about("evict beyond so much in replies, questions and vectors; none: never", "bytes", 1)
    )
    index_bytes: int = field(
        default=2 * 1024**3, metadata=_about("memory that the vector indexes of one process may take", "bytes", 1)
    )
    timeout_seconds: float = field(
        default=5.0, metadata=_about("after that a look-up counts the store as unavailable", "seconds", 0.001, 3600)
    )
    write_timeout_seconds: float = field(
        default=60.0, metadata=_about("after that a write is given up", "seconds", 0.001, 3600)
    )
    claim_seconds: float = field(
        default=10.0,
        metadata=_about(
            "of processes that share the store, one generates an answer for all; should it die, another takes over "
            "after so long; 0: each generates for itself",
            "seconds",
            0,
            3600,
        ),
    )
    claim_wait_seconds: float = field(
        default=30.0,
        metadata=_about("how long an answer that another process is making is waited for", "seconds", 0, 3600),
    )
    accelerator: Literal["numpy", "faiss"] = field(
        default="numpy", metadata=_about("what scans large scopes; faiss needs the extra of that name")
    )

    def __post_init__(self) -> None:
        _check(self, "store.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What turns a question into a vector. Raises ``ConfigurationError``."""

    kind: Literal["local", "http", "directory", "none"] = field(
        default="local",
        metadata=_about("local: on this device; directory: your model; http: a server; none: exact only"),
    )
    path: str = field(default="", metadata=_about("folder of an ONNX model with its tokenizer.json, for directory"))
    url: str = field(default="", repr=False, metadata=_about("base URL of an OpenAI-compatible server, for http"))
    model: str = field(default="", metadata=_about("name of the model, for http"))
    dim: int | None = field(default=None, metadata=_about("size of its vectors, for http", "components", 1, 65536))
    api_key: str = field(default="", repr=False, metadata=_about("bearer token, for http; never shown"))
    timeout_seconds: float = field(
        default=10.0, metadata=_about("after that a look-up goes on without a vector", "seconds", 0.001, 3600)
    )
    threads: int = field(default=1, metadata=_about("processor threads of a model on this device", "threads", 1, 256))

    def __post_init__(self) -> None:
        _check(self, "embedder.")
        for name in {"directory": ("path",), "http": ("url", "model", "dim")}.get(self.kind, ()):
            if not getattr(self, name):
                raise ConfigurationError(f'embedder.{name} must be set where embedder.kind is "{self.kind}"')


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSettings:
    """How the cache learns when it was wrong, where there is a judge. Raises ``ConfigurationError``."""

    judge_url: str = field(
        default="", repr=False, metadata=_about("base URL of the OpenAI-compatible model that judges; empty: no judge")
    )
    judge_model: str = field(default="", metadata=_about("name of that model"))
    judge_api_key: str = field(default="", repr=False, metadata=_about("bearer token for it; never shown"))
    judge_false_accept: float = field(
        default=0.1,
        metadata=_about(
            "so large a share of wrong answers the judge may let pass: the test allows for it", "share", 0, 0.9
        ),
    )
    per_minute: int = field(default=20, metadata=_about("labels of one process in a minute", "labels", 0, 100_000))
    per_day: int = field(
        default=1000, metadata=_about("labels of all processes in a day (UTC); 0: none", "labels", 0, 10_000_000)
    )
    similar_from: float | None = field(
        default=0.97,
        metadata=_about("answers so similar are the same, if no guard objects; none: ask the judge", "cosine", 0, 1),
    )
    judge_timeout_seconds: float = field(
        default=60.0, metadata=_about("after that the judge counts as unsure", "seconds", 0.001, 3600)
    )
    refresh_seconds: float = field(
        default=30.0, metadata=_about("how soon one process sees what others have learned", "seconds", 0.001, 86400)
    )

    def __post_init__(self) -> None:
        _check(self, "learn.")
        if self.judge_url and not self.judge_model:
            raise ConfigurationError("learn.judge_model must be set where learn.judge_url is")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How ``yamabiko serve`` listens and whom it asks. Raises ``ConfigurationError``."""

    host: str = field(default="127.0.0.1", metadata=_about("address to listen on"))
    port: int = field(default=8080, metadata=_about("port to listen on; 0: any that is free", "", 0, 65535))
    upstreams: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_about(
            "whom to ask, by name; /NAME/v1/... reaches each, /v1/... openai and anthropic; empty: those two", "URL"
        ),
    )
    upstream_keys: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata=_about("API keys of upstreams, instead of the clients' own; never shown", "key"),
    )
    tenants_path: str = field(
        default="", metadata=_about("table of keys and tenants (TOML); empty: each credential is a tenant of its own")
    )
    max_body_bytes: int = field(default=32 * 1024**2, metadata=_about("longest request that is read", "bytes", 1024))
    max_reply_bytes: int = field(default=64 * 1024**2, metadata=_about("longest reply that is read", "bytes", 1024))
    max_in_flight: int = field(
        default=1000, metadata=_about("requests of one process at a time; more are told to wait", "requests", 1)
    )
    max_temperature: float | None = field(
        default=None, metadata=_about("requests with a higher one bypass the cache; none: no bound", "", 0, 10)
    )
    body_timeout_seconds: float = field(
        default=30.0, metadata=_about("how long a request's body may take", "seconds", 0.001, 3600)
    )
    connect_timeout_seconds: float = field(
        default=5.0, metadata=_about("how long connecting to an upstream may take", "seconds", 0.001, 3600)
    )
    read_timeout_seconds: float = field(
        default=600.0, metadata=_about("how long an upstream may be silent", "seconds", 0.001, 86400)
    )
    retries: int = field(default=1, metadata=_about("new attempts where no byte of an answer came", "calls", 0, 10))
    drain_seconds: float = field(
        default=30.0, metadata=_about("how long requests under way are waited for at the end", "seconds", 0, 3600)
    )
    replay_seconds: float = field(
        default=0.0, metadata=_about("pause between the pieces of a stored stream; 0: none", "seconds", 0, 60)
    )
    access_log: bool = field(default=False, metadata=_about("a line of JSON on standard output for each request"))
    traces: str = field(default="", metadata=_about("root of an OTLP collector; empty: as OTEL_ variables say"))

    def __post_init__(self) -> None:
        _check(self, "gateway.")
        for name, url in self.upstreams.items():
            if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url):
                raise ConfigurationError(
                    f"gateway.upstreams: {name!r:.40} must be the root of an API, such as https://api.openai.com/v1"
                )
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) or name in _RESERVED:
                raise ConfigurationError(f"gateway.upstreams: {name!r:.60} must be a short word in small letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. ``sources`` says where each value that is not a default came from.

    Raises ``ConfigurationError``.
    """

    url: str = field(  # without repr, as every setting that may hold a secret: explain() masks those
        default="sqlite:///yamabiko.db",
        repr=False,
        metadata=_about("the store: sqlite:///FILE, memorydb://HOST, valkey://HOST, redis://HOST or memory://"),
    )
    prices_path: str = field(default="", metadata=_about("your own price file; empty: the one in the package"))
    signing_keys: str = field(
        default="",
        repr=False,
        metadata=_about(
            "keys that sign entries, id:base64,id:base64, the newest first; empty: no signatures; never shown"
        ),
    )
    policy: Policy = field(default_factory=Policy)
    store: StoreSettings = field(default_factory=StoreSettings)
    embedder: EmbedderSettings = field(default_factory=EmbedderSettings)
    learn: LearnSettings = field(default_factory=LearnSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self, "")

    @classmethod
    def load(
        cls, *, arguments: Mapping[str, object] = _NONE_GIVEN, environ: Mapping[str, str] = _NONE_GIVEN, toml: str = ""
    ) -> Self:
        """Settings from all sources, the strongest first: ``arguments``, ``environ``, ``toml`` (its text), defaults.

        Raises ``ConfigurationError`` for a name that does not exist, a wrong type and a value out of range. The message
        names the setting and its source, never a secret.
        """
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        for source, name, raw in (*_from_toml(toml), *_from_environ(environ), *_leaves(arguments, "argument")):
            if name not in known_settings():
                import difflib  # noqa: PLC0415 - only who misspells a name waits for it

                nearest = difflib.get_close_matches(name, known_settings(), n=1, cutoff=0.0)[0]
                raise ConfigurationError(f"there is no setting {name} ({source}); the nearest is {nearest}")
            values[name] = known_settings()[name].read(raw, source)
            sources[name] = source
        parts: dict[str, dict[str, Any]] = {name.removesuffix("."): {} for name in _parts()}
        for name, value in values.items():
            part, _, leaf = name.rpartition(".")
            parts[part][leaf] = value
        return cls(
            policy=Policy(**parts["policy"]),
            store=StoreSettings(**parts["store"]),
            embedder=EmbedderSettings(**parts["embedder"]),
            learn=LearnSettings(**parts["learn"]),
            gateway=GatewaySettings(**parts["gateway"]),
            sources=MappingProxyType(sources),
            **parts[""],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One leaf of the tree: dotted ``name``, type (without its None where ``optional``), ``default`` and metadata."""

    name: str
    kind: Any
    optional: bool
    default: object
    secret: bool
    doc: str
    unit: str
    range: tuple[float | None, float | None]

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        low, high = self.range
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(self.kind, "")
        words = words or (" or ".join(get_args(self.kind)) if self._is(Literal) else f"name={self.unit} pairs")
        bounds = (
            f"at least {low:g}" if high is None and low is not None else f"from {low:g} to {high:g}" if high else ""
        )
        detail = (words, _HOW.get(self.unit, ""), bounds, "or none" if self.optional else "")
        return ", ".join(filter(None, detail))

    def read(self, raw: object, source: str) -> object:
        """The value that ``raw`` means: text is parsed, then type and range are checked."""
        try:
            value = self._parsed(raw.strip()) if isinstance(raw, str) else raw
        except (ValueError, OverflowError):
            self.refuse(raw, source)
        if not self.fits(value):
            self.refuse(raw, source)
        return float(value) if self.kind is float and isinstance(value, int) else value

    def _parsed(self, text: str) -> object:
        if self.optional and text.lower() == "none":
            return None
        if self.kind is bool:
            return parse_switch(text)
        if self.kind is int:
            return parse_bytes(text) if self.unit == "bytes" else int(text)
        if self.kind is float:
            return parse_seconds(text) if self.unit == "seconds" else float(text)
        if self._is(Mapping):
            pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
            return {name.strip(): family.strip() for name, family in pairs}
        return text

    def _is(self, origin: object) -> bool:
        return get_origin(self.kind) is origin

    def fits(self, value: object) -> bool:
        """Whether type and range are right."""
        if value is None:
            return self.optional
        if self._is(Literal):
            return value in get_args(self.kind)
        if self._is(Mapping):
            return isinstance(value, Mapping) and all(isinstance(x, str) and x for pair in value.items() for x in pair)
        if self.kind not in (int, float):
            return isinstance(value, self.kind)
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float):
            return False
        low, high = self.range
        return (low is None or value >= low) and (high is None or value <= high)

    def refuse(self, value: object, source: str) -> NoReturn:
        """Say what would have fitted. A text may be a secret: only its type is named."""
        got = type(value).__name__ if self.kind is str else f"{value!r:.60}"
        raise ConfigurationError(f"{self.name} ({source}) must be {self.allowed}; got {got}")


def explain(settings: Settings) -> dict[str, tuple[object, str]]:
    """Each dotted name with its value and where that came from; secrets, and passwords in URLs, are masked."""
    lines: dict[str, tuple[object, str]] = {}
    for name, setting in known_settings().items():
        part, _, leaf = name.rpartition(".")
        value = getattr(getattr(settings, part) if part else settings, leaf)
        source = settings.sources.get(name, "default" if value == setting.default else "argument")
        if setting.secret and value:
            value = re.sub(r"(?<=://)[^/]*@", f"{MASK}@", value) if leaf.endswith("url") and "://" in value else MASK
        lines[name] = (dict(value) if isinstance(value, Mapping) else value, source)
    return lines


def settings_table() -> str:
    """The Markdown table of every setting, for the documentation."""
    lines = ["| setting | default | may be | environment | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, setting in known_settings().items():
        default = f"`{in_words(setting.default, setting.unit)}`".replace("``", "")
        lines.append(f"| `{name}` | {default} | {setting.allowed} | `{setting.variable}` | {setting.doc} |")
    return "\n".join(lines) + "\n"


@cache
def known_settings() -> Mapping[str, Setting]:
    """Every leaf of the tree by its dotted name, in the order of the documentation."""
    known = {}
    for prefix, part in _parts().items():
        hints = get_type_hints(part)
        for leaf in fields(part):
            about = _POLICY[leaf.name] if part is Policy else leaf.metadata
            if about:
                optional = NoneType in get_args(hints[leaf.name])
                known[prefix + leaf.name] = Setting(
                    name=prefix + leaf.name,
                    kind=get_args(hints[leaf.name])[0] if optional else hints[leaf.name],
                    optional=optional,
                    default={} if leaf.default is MISSING else leaf.default,
                    secret=not leaf.repr,
                    **about,
                )
    return MappingProxyType(known)


def _parts() -> Mapping[str, Any]:
    """The tree's parts by the prefix of their settings' names."""
    parts = (Policy, StoreSettings, EmbedderSettings, LearnSettings, GatewaySettings)
    return {"": Settings} | {f"{part.__name__.removesuffix('Settings').lower()}.": part for part in parts}


def _check(part: object, prefix: str) -> None:
    """Types and ranges of a part that was made by hand."""
    for name, setting in known_settings().items():
        leaf = name.removeprefix(prefix)
        if name.startswith(prefix) and "." not in leaf and not setting.fits(getattr(part, leaf)):
            setting.refuse(getattr(part, leaf), "argument")


def _leaves(tree: Mapping[str, Any], source: str, prefix: str = "") -> Iterator[tuple[str, str, object]]:
    """Source, dotted name and value of each leaf; a part given whole is taken apart, a setting's own mapping is not."""
    for name, given in tree.items():
        whole = is_dataclass(given) and not isinstance(given, type)
        value = {leaf.name: getattr(given, leaf.name) for leaf in fields(given)} if whole else given
        if isinstance(value, Mapping) and prefix + name not in known_settings():
            yield from _leaves(value, source, f"{prefix}{name}.")
        else:
            yield source, prefix + name, value


def _from_environ(environ: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE and text:
            yield f"environment {variable}", variable.removeprefix(PREFIX).lower().replace("__", "."), text


def _from_toml(toml: str) -> Iterator[tuple[str, str, object]]:
    import tomllib  # noqa: PLC0415 - only who has a file waits for its parser

    try:
        return _leaves(tomllib.loads(toml), "TOML")
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the settings are not TOML: {error}") from None
