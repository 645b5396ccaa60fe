"""What infrastructure costs: the file that is shipped, and what a file of one's own may say."""

import json
from importlib.resources import files

import pytest

from yamabiko.core.tariff import Reserved, Tariff, parse_tariff
from yamabiko.errors import ConfigurationError

TEXT = files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8")
TARIFF = parse_tariff(TEXT)
NODE = {"node": "db.x", "memory_gib": 2, "vcpus": 2, "valkey": 0.1}


def test_the_shipped_file_is_dated_and_says_where_each_price_is_from():
    assert (TARIFF.dated, TARIFF.region) == ("2026-11-23", "us-east-1")
    document = json.loads(TEXT)
    assert all(row["source"] for part in ("models", "rates", "nodes") for row in document[part])


def test_no_price_of_a_node_is_taken_for_verified_as_none_could_be():
    assert [node.name for node in TARIFF.nodes.values() if node.verified] == []


@pytest.mark.parametrize("family", ["db.r6g", "db.r7g"])
def test_nodes_of_a_family_cost_by_their_size_and_larger_ones_have_more_memory(family):
    nodes = sorted((node for name, node in TARIFF.nodes.items() if name.startswith(family)), key=lambda one: one.vcpus)
    assert len(nodes) == 7
    for node in nodes:
        assert node.price("valkey") == pytest.approx(nodes[0].price("valkey") * node.vcpus / nodes[0].vcpus)
        assert node.price("valkey") == pytest.approx(0.7 * node.price("redis"), rel=1e-3)
    memory = [node.memory_bytes for node in nodes]
    assert memory == sorted(set(memory))


def test_only_r_nodes_are_sold_as_reserved_ones():
    assert {name for name, node in TARIFF.nodes.items() if not node.reservable} == {"db.t4g.small", "db.t4g.medium"}
    assert TARIFF.reserved == Reserved(at_most=0.55, years=3, verified=True)


def test_nodes_without_search_are_not_there():
    assert not [name for name in TARIFF.nodes if name.startswith("db.r6gd")]


def test_ones_own_file_goes_before_the_shipped_one_and_the_rest_stays():
    own = parse_tariff(
        json.dumps(
            {
                "dated": "2027-01-01",
                "region": "ap-northeast-1",
                "rates": [{"rate": "endpoint.hour", "usd": 0.014, "per": "hour and zone", "verified": True}],
                "nodes": [{**NODE, "node": "db.r7g.large", "memory_gib": 13.07, "verified": True}],
                "reserved": {"at_most": 0.4, "years": 1},
            }
        )
    )
    both = TARIFF.overridden_by(own)
    assert (both.dated, both.region, both.reserved.at_most) == ("2027-01-01", "ap-northeast-1", 0.4)
    assert both.rate("endpoint.hour").usd == 0.014
    assert both.rate("endpoint.hour").verified
    assert both.node("db.r7g.large").price("valkey") == 0.1
    assert both.node("db.r6g.large") == TARIFF.node("db.r6g.large")
    with pytest.raises(ConfigurationError, match=r"db\.r7g\.large with redis"):
        both.node("db.r7g.large").price("redis")


def test_a_file_that_says_nothing_of_infrastructure_changes_nothing():
    assert TARIFF.overridden_by(parse_tariff('{"models": []}')) == TARIFF


def test_what_is_not_in_the_file_is_named():
    with pytest.raises(ConfigurationError, match=r"no node db.r9g.large; it has db.t4g.small"):
        TARIFF.node("db.r9g.large")
    with pytest.raises(ConfigurationError, match="no rate gold"):
        Tariff().rate("gold")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "must be a JSON object"),
        ("{", "not JSON"),
        ('{"rates": {}}', "rates of the price file must be a list"),
        ('{"rates": [1]}', "row 1 of the price file's rates must be a JSON object"),
        ('{"rates": [{"rate": "a", "per": "hour"}]}', "needs usd"),
        ('{"rates": [{"rate": "a", "usd": -1, "per": "hour"}]}', "needs usd"),
        ('{"rates": [{"rate": "a", "usd": true, "per": "hour"}]}', "needs usd"),
        ('{"rates": [{"rate": "a", "usd": 1}]}', "needs per"),
        ('{"rates": [{"rate": "a", "usd": 1, "per": "hour", "verified": "yes"}]}', "true or false"),
        ('{"rates": [{"rate": "a", "usd": 1, "per": "hour", "usb": 1}]}', "unknown fields: usb"),
        ('{"rates": [{"rate": "a", "usd": 1, "per": "x"}, {"rate": "a", "usd": 1, "per": "x"}]}', "names a twice"),
        ('{"nodes": [{"node": "a", "memory_gib": 1, "vcpus": 1}]}', "under valkey or redis"),
        ('{"nodes": [{"node": "a", "memory_gib": 0, "vcpus": 1, "redis": 1}]}', "memory_gib above 0"),
        ('{"nodes": [{"node": "a", "memory_gib": 1, "vcpus": 1, "redis": 1, "reservable": 1}]}', "reservable"),
        ('{"reserved": {"at_most": 1.5, "years": 1}}', "at_most must be in 0..1"),
        ('{"reserved": {"at_most": NaN, "years": 1}}', "needs at_most"),
    ],
)
def test_a_file_that_can_not_be_read_says_what_is_wrong(document, words):
    with pytest.raises(ConfigurationError, match=words):
        parse_tariff(document)
