"""What a generation costs, under all the names a model goes by."""

from importlib.resources import files

import pytest

from yamabiko.core.economics import Prices, parse
from yamabiko.errors import ConfigurationError
from yamabiko.types import Usage

PRICES = parse(files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8"))
MILLION = Usage(input_tokens=1_000_000)


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("claude-haiku-4-5", 1.0),
        ("claude-haiku-4-5-20251001", 1.0),
        ("claude-haiku-4-5@20251001", 1.0),
        ("anthropic/claude-haiku-4-5", 1.0),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", 1.0),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", 1.0),
        ("jp.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("apac.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", 1.0),
        ("bedrock/jp.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("bedrock/converse/jp.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("Claude-Haiku-4-5", 1.0),
        ("claude-haiku-4-5-latest", 1.0),
        ("claude-haiku-4-5-thinking", 1.0),
        ("jp.anthropic.claude-haiku-5-5", 0.11),
        ("claude-sonnet-5", 2.0),
        ("claude-sonnet-5-5", 2.0),
        ("claude-sonnet-4-6", 3.0),
        ("claude-opus-4-7", 5.0),
        ("anthropic.claude-3-haiku-20240307-v1:0", 0.25),
        ("amazon.titan-embed-text-v2:0", 0.02),
        ("amazon.titan-embed-text-v1", 0.10),
        ("cohere.embed-multilingual-v3", 0.10),
        ("cohere.embed-v4:0", 0.12),
        ("amazon.nova-micro-v1:0", 0.035),
        ("us.amazon.nova-2-lite-v1:0", 0.3),
        ("apac.amazon.nova-2-lite-v1:0", 0.396),
        ("simulated", 1.0),
    ],
)
def test_a_model_is_found_under_each_of_its_names(model, usd):
    assert PRICES.cost_usd(MILLION, model) == pytest.approx(usd)
    assert PRICES.known(model)


@pytest.mark.parametrize(
    "model", ["", "gpt-unheard-of", "claude-sonnet-5-7", "claude-haiku-4-50", "claude-haiku-6", "claude", "titan-embed-text-v3", "nova-microscope", "us.", "bedrock/"]
)  # fmt: skip
def test_an_unknown_model_costs_nothing_and_is_known_to_be_unknown(model):
    assert PRICES.cost_usd(MILLION, model) == 0.0
    assert not PRICES.known(model)


def test_cached_input_is_cheaper_and_a_part_of_the_input():
    usage = Usage(input_tokens=1000, cached_input_tokens=600, output_tokens=200)
    assert PRICES.cost_usd(usage, "claude-haiku-4-5") == pytest.approx((400 * 1.0 + 600 * 0.1 + 200 * 5.0) / 1e6)


def test_without_a_price_for_cached_input_it_costs_as_much_as_other_input():
    assert PRICES.cost_usd(Usage(input_tokens=10, cached_input_tokens=10), "nova-pro") == pytest.approx(8e-6)


def test_what_a_provider_takes_into_its_cache_costs_more_and_is_a_part_of_the_input():
    usage = Usage(input_tokens=1000, cached_input_tokens=100, output_tokens=0)
    plain = PRICES.cost_usd(usage, "claude-haiku-4-5")
    assert PRICES.cost_usd(usage, "claude-haiku-4-5", written=(200, 0)) == pytest.approx(plain + 200 * 0.25e-6)
    assert PRICES.cost_usd(usage, "claude-haiku-4-5", written=(0, 200)) == pytest.approx(plain + 200 * 1.0e-6)
    assert PRICES.cost_usd(usage, "jp.claude-haiku-4-5", written=(8, 0)) == pytest.approx(
        PRICES.cost_usd(usage, "jp.claude-haiku-4-5") + 8 * 0.275e-6
    )
    assert PRICES.cost_usd(usage, "nova-pro", written=(500, 0)) == PRICES.cost_usd(usage, "nova-pro"), "no such price"


def test_the_simulated_model_costs_as_much_as_haiku():
    assert PRICES.price("simulated") == PRICES.price("claude-haiku-4-5")


def test_the_price_file_is_dated_and_names_its_source():
    assert PRICES.dated == "2026-11-23"


def test_a_user_prices_what_we_do_not_know_and_corrects_what_we_do():
    own = parse(
        '{"models": [{"model": "local-llama", "input": 0}, {"model": "claude-haiku-4-5", "input": 9, "output": 9}]}'
    )
    prices = PRICES.overridden_by(own)
    assert prices.known("local-llama")
    assert prices.cost_usd(MILLION, "claude-haiku-4-5") == 9.0
    assert prices.cost_usd(MILLION, "jp.anthropic.claude-haiku-4-5") == 9.0
    assert prices.cost_usd(MILLION, "claude-sonnet-5") == 2.0
    assert prices.dated == "2026-11-23"


def test_no_prices_at_all_cost_nothing():
    assert Prices().cost_usd(MILLION, "claude-haiku-4-5") == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "list of rows"),
        ('{"models": {}}', "list of rows"),
        ('{"models": [{"input": 1}]}', "row 1 needs the name"),
        ('{"models": [{"model": "a"}]}', "row 1 needs an input price"),
        ('{"models": [{"model": "a", "input": -1}]}', "row 1: input"),
        ('{"models": [{"model": "a", "input": "1"}]}', "row 1: input"),
        ('{"models": [{"model": "a", "input": true}]}', "row 1: input"),
        ('{"models": [{"model": "a", "input": NaN}]}', "row 1: input"),
        ('{"models": [{"model": "a", "input": 1, "price": 2}]}', "unknown fields: price"),
        ('{"models": [{"model": "a", "input": 1, "profiles": "jp"}]}', "profiles"),
        ('{"models": [{"model": "a", "input": 1}, {"model": "A", "input": 1}]}', "names a again"),
    ],
)
def test_a_price_file_that_does_not_fit_says_where(text, words):
    with pytest.raises(ConfigurationError, match=words):
        parse(text)


def test_a_price_is_verified_only_where_its_row_says_so():
    own = parse('{"models": [{"model": "a", "input": 1, "verified": true}, {"model": "b", "input": 1}]}')
    assert own.price("a").verified
    assert not own.price("b").verified
    assert not any(price.verified for price in PRICES.models.values())
    with pytest.raises(ConfigurationError, match="verified must be true or false"):
        parse('{"models": [{"model": "a", "input": 1, "verified": "yes"}]}')


def test_a_file_may_have_no_models_where_it_has_prices_of_something_else():
    assert parse('{"rates": []}').models == {}
    with pytest.raises(ConfigurationError, match="needs a list of rows"):
        parse('{"rate": []}')
