"""The whole tree: from all its sources, and into words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Self

from yamabiko.errors import ConfigurationError
from yamabiko.settings.gateway import GatewaySettings
from yamabiko.settings.generator import GeneratorSettings
from yamabiko.settings.parts import BedrockSettings, EmbedderSettings, LearnSettings, StoreSettings
from yamabiko.settings.policy import about
from yamabiko.settings.setting import PREFIX, Setting, check, settings_of
from yamabiko.settings.verifier import VerifierSettings
from yamabiko.types import Policy
from yamabiko.units import in_words

FILE_VARIABLE = "YAMABIKO_SETTINGS_FILE"
MASK = "********"
_NONE_GIVEN: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. ``sources`` says where each value that is not a default came from.

    Raises ``ConfigurationError``.
    """

    url: str = field(  # without repr, as every setting that may hold a secret: explain() masks those
        default="sqlite:///yamabiko.db",
        repr=False,
        metadata=about("the store: sqlite:///FILE, memorydb://HOST, valkey://HOST, redis://HOST or memory://"),
    )
    deployment: str = field(
        default="yamabiko", metadata=about("name of this deployment, by which its metrics are told apart")
    )
    prices_path: str = field(default="", metadata=about("your own price file; empty: the one in the package"))
    signing_keys: str = field(
        default="",
        repr=False,
        metadata=about(
            "keys that sign entries, id:base64,id:base64, the newest first; empty: no signatures; never shown"
        ),
    )
    policy: Policy = field(default_factory=Policy)
    store: StoreSettings = field(default_factory=StoreSettings)
    embedder: EmbedderSettings = field(default_factory=EmbedderSettings)
    bedrock: BedrockSettings = field(default_factory=BedrockSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    learn: LearnSettings = field(default_factory=LearnSettings)
    verifier: VerifierSettings = field(default_factory=VerifierSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(self, "")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.deployment):
            raise ConfigurationError("deployment must be up to 64 letters, digits, dots, hyphens and underscores")

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
            bedrock=BedrockSettings(**parts["bedrock"]),
            generator=GeneratorSettings(**parts["generator"]),
            learn=LearnSettings(**parts["learn"]),
            verifier=VerifierSettings(**parts["verifier"]),
            gateway=GatewaySettings(**parts["gateway"]),
            sources=MappingProxyType(sources),
            **parts[""],
        )


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
    return MappingProxyType(
        {name: leaf for prefix, part in _parts().items() for name, leaf in settings_of(part, prefix).items()}
    )


def _parts() -> Mapping[str, Any]:
    """The tree's parts by the prefix of their settings' names."""
    parts = (
        Policy,
        StoreSettings,
        EmbedderSettings,
        BedrockSettings,
        GeneratorSettings,
        LearnSettings,
        VerifierSettings,
        GatewaySettings,
    )
    return {"": Settings} | {f"{part.__name__.removesuffix('Settings').lower()}.": part for part in parts}


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
