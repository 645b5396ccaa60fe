"""What a store's URL may say, and that its secrets stay in it."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.errors import ConfigurationError
from yamabiko.stores.memorydb.address import OPTIONS, Address
from yamabiko.stores.memorydb.failures import access_string

ENDPOINT = "clustercfg.semantic-cache.abc123.memorydb.ap-northeast-1.amazonaws.com"


@pytest.mark.parametrize(
    ("scheme", "tls"), [("memorydb", True), ("valkeys", True), ("rediss", True), ("valkey", False), ("redis", False)]
)
def test_the_scheme_says_whether_tls_is_spoken_and_tls_overrides_it(scheme, tls):
    assert Address.parse(f"{scheme}://cache.example").tls is tls
    assert Address.parse(f"{scheme}://cache.example?tls={'false' if tls else 'true'}").tls is not tls


def test_what_is_not_said_is_left_to_the_server_or_is_the_default():
    address = Address.parse("valkey://cache.example")
    assert (address.host, address.port, address.name, address.db) == ("cache.example", 6379, "yamabiko", 0)
    assert (address.user, address.password, address.auth) == ("", "", "password")
    assert (address.cluster, address.profile, address.replica_search, address.connections) == (None, None, False, 8)


def test_everything_can_be_said_at_once():
    address = Address.parse(
        "valkeys://app:s%40crt%2F@[2001:db8::1]:7000/?name=support-2&cluster=true&profile=valkey-search-1.2"
        "&replica_search=true&connections=3&connect_timeout=0.5&ca=/etc/ssl/ca.pem"
    )
    assert (address.user, address.password) == ("app", "s@crt/")
    assert (address.host, address.port, address.name) == ("2001:db8::1", 7000, "support-2")
    assert (address.cluster, address.profile, address.replica_search) == (True, "valkey-search-1.2", True)
    assert (address.connections, address.connect_timeout_seconds, address.ca) == (3, 0.5, "/etc/ssl/ca.pem")


def test_a_password_may_stand_without_a_user():
    assert Address.parse("redis://:secret@cache.example").password == "secret"


@pytest.mark.parametrize("url", ["redis://cache.example/3", "redis://cache.example/3/", "redis://cache.example?db=3"])
def test_the_path_or_db_names_the_database(url):
    assert Address.parse(url).db == 3


@pytest.mark.parametrize(
    "host", [ENDPOINT, "semantic-cache-0001-001.semantic-cache.abc123.memorydb.ap-northeast-1.amazonaws.com"]
)
def test_an_endpoint_of_memorydb_says_what_iam_signs_for(host):
    address = Address.parse(f"memorydb://cache-app@{host}?auth=iam")
    assert (address.auth, address.user, address.password) == ("iam", "cache-app", "")
    assert (address.region, address.cluster_name) == ("ap-northeast-1", "semantic-cache")


def test_what_iam_signs_for_can_be_named():
    address = Address.parse("memorydb://app@tunnel.example:7001?auth=iam&region=eu-west-1&cluster_name=Shop")
    assert (address.region, address.cluster_name) == ("eu-west-1", "shop")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://cache.example", "memorydb://"),
        ("cache.example:6379", "memorydb://"),
        ("memorydb://", "no host"),
        ("memorydb://?name=x", "no host"),
        ("memorydb://cache example", "no host"),
        ("memorydb://[::1", "can't be read"),
        ("memorydb://[zz]", "can't be read|no host"),
        ("memorydb://cache.example:notaport", "can't be read"),
        ("memorydb://cache.example:70000", "can't be read"),
        ("memorydb://cache.example:0", "1 to 65535"),
        ("memorydb://cache.example?nme=x", "no option nme; the nearest is name"),
        ("memorydb://cache.example?clster=true", "nearest is cluster"),
        ("memorydb://cache.example?name=a&name=b", "twice"),
        ("memorydb://cache.example?name=Shop", "name= .* must be"),
        ("memorydb://cache.example?name=" + "a" * 33, "name= .* must be"),
        ("memorydb://cache.example?name={x}", "name= .* must be"),
        ("memorydb://cache.example?cluster=maybe", "true or false"),
        ("memorydb://cache.example?profile=redis", "memorydb or valkey-search-1.0"),
        ("memorydb://cache.example?connections=0", "from 1 to 256"),
        ("memorydb://cache.example?connections=2.5", "whole number"),
        ("memorydb://cache.example?connect_timeout=nan", "from 0.01 to 60"),
        ("redis://cache.example/cache", "number of a database"),
        ("redis://cache.example/3?db=3", "twice"),
        ("redis://cache.example?ca=ca.pem", "ca= is for TLS"),
        ("memorydb://app@cache.example", "no password"),
        ("memorydb://cache.example?auth=token", "password or iam"),
        ("memorydb://app@cache.example?auth=iam", "region="),
        ("memorydb://app@cache.example?auth=iam&region=eu-west-1", "cluster_name="),
        (f"memorydb://{ENDPOINT}?auth=iam", "ACL user"),
        (f"memorydb://app@{ENDPOINT}?auth=iam&tls=false", "TLS"),
        (f"valkey://app@{ENDPOINT}?auth=iam", "TLS"),
        (f"memorydb://app@{ENDPOINT}?auth=iam&region=eu_west", "region="),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(url, says):
    with pytest.raises(ConfigurationError, match=says):
        Address.parse(url)


SECRET = "hunter2-correct-horse"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://app:{}@cache.example",
        "memorydb://app:{}@cache.example:x",
        "memorydb://app:{}@cache.example:99999",
        "memorydb://app:{}@",
        "memorydb://app:{}@[::1",
        "memorydb://app:{}@cache.example?nme=x",
        "memorydb://app:{}@cache.example?name=X",
        "memorydb://app:{}#@cache.example",
        "memorydb://app:{}/@cache.example",
        "memorydb://app:{}?x@cache.example",
        "memorydb://app:{}@cache.example?auth=iam",
    ],
)
def test_no_message_holds_the_password(url):
    with pytest.raises(ConfigurationError) as raised:
        Address.parse(url.format(SECRET))
    told = raised.value
    while told is not None:
        assert SECRET not in str(told)
        told = None if told.__suppress_context__ else told.__context__


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=8))
def test_every_password_can_be_said_and_never_shows(password):
    address = Address.parse(f"memorydb://app:{quote(password, safe='')}@cache.example")
    assert address.password == password
    assert password not in repr(address) or password in repr(Address.parse("memorydb://app:x@cache.example"))
    assert password not in str(address) or password in str(Address.parse("memorydb://app:x@cache.example"))


@given(st.text())
def test_any_text_is_an_address_or_refused(text):
    for url in (text, f"memorydb://{text}", f"valkey://host?{text}"):
        try:
            address = Address.parse(url)
        except ConfigurationError:
            continue
        assert address.host
        assert 0 < address.port < 65536


def test_the_options_are_those_that_the_parser_knows():
    for option in OPTIONS:
        with pytest.raises(ConfigurationError) as raised:
            Address.parse(f"valkey://cache.example?{option}=%00&{option}=%00")
        assert "twice" in str(raised.value)


def test_the_documentation_names_every_option_and_the_rights():
    told = (Path(__file__).parents[1] / "docs" / "memorydb.md").read_text(encoding="utf-8")
    for option in OPTIONS:
        assert f"`{option}" in told, option
    assert access_string("support") in told
