"""Settings: argument over environment over TOML over default; what does not fit says so and keeps secrets."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.errors import ConfigurationError
from yamabiko.settings import (
    MASK,
    EmbedderSettings,
    Settings,
    StoreSettings,
    explain,
    known_settings,
    settings_table,
)
from yamabiko.types import Policy
from yamabiko.units import in_words, parse_bytes, parse_seconds, parse_switch

NUMBERS = [name for name, setting in known_settings().items() if setting.kind in (int, float)]


def refusal(**sources):
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(**sources)
    return str(caught.value)


def test_without_any_source_everything_is_the_default():
    assert Settings.load() == Settings()
    assert Settings().policy == Policy()
    assert {source for _, source in explain(Settings.load()).values()} == {"default"}


def test_the_strongest_source_wins_for_each_setting_alone():
    toml = """
    url = "sqlite:///toml.db"
    [policy]
    candidates = 7
    ttl_seconds = "1d"
    [store]
    max_bytes = "1GiB"
    durability = "full"
    """
    environ = {"YAMABIKO_POLICY__CANDIDATES": "8", "YAMABIKO_STORE__MAX_BYTES": "2GiB", "HOME": "/somewhere"}
    settings = Settings.load(arguments={"store.max_bytes": 3, "store": {"index_bytes": 9}}, environ=environ, toml=toml)
    assert settings.url == "sqlite:///toml.db"
    assert settings.policy == Policy(candidates=8, ttl_seconds=86400.0)
    assert settings.store == StoreSettings(durability="full", max_bytes=3, index_bytes=9)
    told = explain(settings)
    assert told["store.max_bytes"] == (3, "argument")
    assert told["policy.candidates"] == (8, "environment YAMABIKO_POLICY__CANDIDATES")
    assert told["policy.ttl_seconds"] == (86400.0, "TOML")
    assert told["embedder.kind"] == ("local", "default")
    assert told.keys() == known_settings().keys()


def test_a_policy_can_be_given_whole():
    policy = Policy(max_error_rate=None, min_similarity=0.9, model_families={"haiku-1": "haiku"})
    settings = Settings.load(arguments={"policy": policy}, environ={"YAMABIKO_POLICY__CANDIDATES": "9"})
    assert settings.policy == policy


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("YAMABIKO_STORE__MAX_BYTES", "512MiB", "store.max_bytes", 512 * 1024**2),
        ("YAMABIKO_STORE__MAX_BYTES", "1.5gb", "store.max_bytes", 1_500_000_000),
        ("YAMABIKO_STORE__MAX_BYTES", "none", "store.max_bytes", None),
        ("YAMABIKO_STORE__INDEX_BYTES", "4096", "store.index_bytes", 4096),
        ("YAMABIKO_STORE__TIMEOUT_SECONDS", "250ms", "store.timeout_seconds", 0.25),
        ("YAMABIKO_POLICY__TTL_SECONDS", "1h30m", "policy.ttl_seconds", 5400.0),
        ("YAMABIKO_POLICY__TTL_SECONDS", "inf", "policy.ttl_seconds", math.inf),
        ("YAMABIKO_POLICY__TTL_SECONDS", "2w", "policy.ttl_seconds", 1_209_600.0),
        ("YAMABIKO_POLICY__STALE_SECONDS", "0", "policy.stale_seconds", 0.0),
        ("YAMABIKO_POLICY__MIN_SIMILARITY", "None", "policy.min_similarity", None),
        ("YAMABIKO_POLICY__MIN_SIMILARITY", "0.93", "policy.min_similarity", 0.93),
        ("YAMABIKO_POLICY__SEMANTIC", "off", "policy.semantic", False),
        ("YAMABIKO_POLICY__REQUIRE_TENANT", "TRUE", "policy.require_tenant", True),
        ("YAMABIKO_POLICY__MODEL_FAMILIES", "a-1=a, a-2 = a", "policy.model_families", {"a-1": "a", "a-2": "a"}),
        ("YAMABIKO_STORE__ACCELERATOR", "faiss", "store.accelerator", "faiss"),
        ("YAMABIKO_EMBEDDER__PATH", "模型/日本語", "embedder.path", "模型/日本語"),
        ("YAMABIKO_URL", "memory://", "url", "memory://"),
        ("YAMABIKO_URL", "", "url", "sqlite:///yamabiko.db"),
        ("YAMABIKO_SETTINGS_FILE", "my.toml", "url", "sqlite:///yamabiko.db"),
    ],
)
def test_text_of_the_environment_is_understood(variable, text, name, value):
    assert explain(Settings.load(environ={variable: text}))[name][0] == value


def test_toml_tables_and_types_are_understood():
    settings = Settings.load(toml='[policy]\nttl_seconds = 60\n[policy.model_families]\n"haiku-1" = "haiku"')
    assert settings.policy.model_families == {"haiku-1": "haiku"}
    assert isinstance(settings.policy.ttl_seconds, float)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"arguments": {"store.max_byte": 1}}, ["store.max_byte ", "argument", "nearest is store.max_bytes"]),
        ({"arguments": {"policy": {"min_similarty": 1}}}, ["policy.min_similarty", "policy.min_similarity"]),
        ({"environ": {"YAMABIKO_STORE_MAX_BYTES": "1"}}, ["YAMABIKO_STORE_MAX_BYTES", "nearest is store.max_bytes"]),
        ({"toml": "max_bytes = 1"}, ["TOML", "nearest is store.max_bytes"]),
        ({"toml": "store = 3"}, ["there is no setting store"]),
        ({"arguments": {"sources": "x"}}, ["there is no setting sources"]),
        ({"toml": "url = \n"}, ["not TOML", "line 1"]),
        ({"arguments": {"store.max_bytes": True}}, ["store.max_bytes (argument)", "whole number", "or none", "True"]),
        ({"arguments": {"store.max_bytes": 1.5}}, ["whole number"]),
        ({"arguments": {"store.max_bytes": 0}}, ["at least 1"]),
        ({"arguments": {"store.index_bytes": None}}, ["store.index_bytes", "got None"]),
        ({"arguments": {"policy.semantic": 1}}, ["true or false"]),
        ({"arguments": {"url": 3}}, ["url (argument) must be a text; got int"]),
        ({"arguments": {"policy.model_families": {"a": 1}}}, ["name=family"]),
        ({"environ": {"YAMABIKO_POLICY__MODEL_FAMILIES": "a"}}, ["name=family"]),
        ({"environ": {"YAMABIKO_POLICY__MIN_SIMILARITY": "1.2"}}, ["from -1 to 1", "'1.2'"]),
        ({"environ": {"YAMABIKO_POLICY__MIN_SIMILARITY": "nan"}}, ["from -1 to 1"]),
        ({"environ": {"YAMABIKO_POLICY__SEMANTIC": "maybe"}}, ["true or false", "maybe"]),
        ({"environ": {"YAMABIKO_STORE__DURABILITY": "fast"}}, ["normal or full", "fast"]),
        ({"environ": {"YAMABIKO_STORE__MAX_BYTES": "12 parsecs"}}, ["512MiB", "parsecs"]),
        ({"environ": {"YAMABIKO_POLICY__TTL_SECONDS": "soon"}}, ["1h30m", "soon"]),
        ({"environ": {"YAMABIKO_POLICY__CANDIDATES": "five"}}, ["from 1 to 100", "five"]),
        ({"arguments": {"embedder.kind": "directory"}}, ["embedder.path must be set"]),
        ({"arguments": {"embedder.kind": "http", "embedder.url": "http://[::1]/v1"}}, ["embedder.model must be set"]),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(sources, words):
    message = refusal(**sources)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    "make",
    [
        lambda: StoreSettings(timeout_seconds=0),
        lambda: StoreSettings(durability="fast"),
        lambda: EmbedderSettings(threads=0),
        lambda: Settings(url=None),
    ],
)
def test_parts_made_by_hand_keep_the_same_rules(make):
    with pytest.raises(ConfigurationError):
        make()


def test_secrets_are_never_shown():
    environ = {
        "YAMABIKO_EMBEDDER__API_KEY": "sk-very-secret",
        "YAMABIKO_URL": "memorydb://user:very-secret@host:6379/0",
        "YAMABIKO_EMBEDDER__URL": "http://user:very@secret@[::1]/v1",
    }
    settings = Settings.load(environ=environ)
    told = explain(settings)
    assert settings.embedder.api_key == "sk-very-secret"
    assert "secret" not in f"{settings!r} {told!r}"
    assert told["embedder.api_key"][0] == MASK
    assert told["url"][0] == f"memorydb://{MASK}@host:6379/0"
    assert "secret" not in refusal(arguments={"embedder.api_key": ["secret"]})


def test_every_setting_says_what_it_is_and_stands_in_the_table():
    table = settings_table()
    for name, setting in known_settings().items():
        assert setting.doc
        assert f"| `{name}` |" in table
        assert f"`{setting.variable}`" in table
        if name.endswith(("_seconds", "_bytes")):
            assert setting.unit == name.rpartition("_")[2]
    assert {name for name in known_settings() if name.startswith("policy.")} == {
        f"policy.{name}" for name in Policy.__dataclass_fields__
    }
    assert json.loads(json.dumps({name: value for name, (value, _) in explain(Settings()).items()}))


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_a_number_is_accepted_exactly_within_its_range(name, data):
    setting = known_settings()[name]
    number = st.integers() if setting.kind is int else st.floats(allow_nan=True) | st.integers(-(10**9), 10**9)
    value = data.draw(number)
    low, high = setting.range
    inside = (low is None or value >= low) and (high is None or value <= high)
    if inside:
        assert explain(Settings.load(arguments={name: value}))[name] == (value, "argument")
    else:
        assert name in refusal(arguments={name: value})


@given(st.integers(0, 10**16))
def test_a_size_in_words_reads_back(size):
    assert parse_bytes(in_words(size, "bytes")) == size


@given(st.floats(0.0, 1e12) | st.integers(0, 10**6).map(float) | st.just(math.inf))
def test_a_duration_in_words_reads_back(seconds):
    assert parse_seconds(in_words(seconds, "seconds")) == seconds


@given(st.text(max_size=12))
def test_no_text_breaks_a_unit_parser(text):
    for parse in (parse_bytes, parse_seconds, parse_switch):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert isinstance(value, int | float)


@given(st.dictionaries(st.sampled_from(sorted(known_settings())), st.text(min_size=1, max_size=8), max_size=4))
def test_any_environment_gives_settings_or_a_configuration_error(environ):
    variables = {known_settings()[name].variable: text for name, text in environ.items()}
    with suppress(ConfigurationError):  # and nothing else
        assert Settings.load(environ=variables).sources.keys() == environ.keys()


def test_the_module_reads_no_environment():
    code = (
        "import os; os.environ = None; from yamabiko.settings import Settings; print(Settings.load().store.durability)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "normal"


def test_the_settings_page_is_up_to_date():
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8").endswith(settings_table()), "put in: yamabiko settings --markdown"
