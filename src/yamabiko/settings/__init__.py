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

from yamabiko.settings.gateway import GatewaySettings
from yamabiko.settings.generator import GeneratorSettings
from yamabiko.settings.parts import BedrockSettings, EmbedderSettings, LearnSettings, StoreSettings
from yamabiko.settings.setting import PREFIX, Setting
from yamabiko.settings.tree import FILE_VARIABLE, MASK, Settings, explain, known_settings, settings_table
from yamabiko.settings.verifier import VerifierSettings

__all__ = [
    "FILE_VARIABLE",
    "MASK",
    "PREFIX",
    "BedrockSettings",
    "EmbedderSettings",
    "GatewaySettings",
    "GeneratorSettings",
    "LearnSettings",
    "Setting",
    "Settings",
    "StoreSettings",
    "VerifierSettings",
    "explain",
    "known_settings",
    "settings_table",
]
