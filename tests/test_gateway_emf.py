"""What the gateway tells CloudWatch: counted from real requests, and when it is told."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from test_aws_metrics import extracted
from upstreams.inside import Inside
from yamabiko.gateway.emf import Emf
from yamabiko.gateway.exchange import Exchange
from yamabiko.telemetry import Event
from yamabiko.types import MissReason

HERE = (("Deployment", "shop"),)


def chat(text="Hello?", **more):
    asked = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": text}], "temperature": 0}
    return json.dumps(asked | more).encode()


def says(status=200):
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "claude-haiku-4-5", "choices": [choice]}
    told = json.dumps(body | {"usage": usage} if status == 200 else {"error": {"message": "no"}}).encode()
    return lambda _: (status, {"content-type": "application/json"}, told)


def told(capsys):
    """What CloudWatch extracts of all lines so far, and how many there were."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    return extracted(lines), len(lines)


def test_a_server_tells_what_it_has_counted_when_it_ends(capsys):
    with Inside(gateway__emf=True, deployment="shop", gateway__emf_seconds=3600) as inside:
        inside.upstream.says = says()
        headers = [("authorization", "Bearer one")]
        for text in ("Hello?", "Hello?", "Hello?", "And you?"):
            assert inside.ask("/v1/chat/completions", chat(text), headers).status == 200
            inside.entries()
        assert inside.ask("/v1/models", method="GET", headers=headers).status == 200
        inside.upstream.says = says(500)
        assert inside.ask("/v1/chat/completions", chat("Another?"), headers).status == 500
        assert inside.ask("/nowhere", method="GET").status == 404
        assert told(capsys) == ({}, 0)
    found, _ = told(capsys)
    tiers = {"exact": 2, "miss": 3, "pass": 1, "refused": 1}
    assert {tier: found["Requests", (*HERE, ("Tier", tier))] for tier in tiers} == {t: [n] for t, n in tiers.items()}
    assert sum(found["Requests", HERE]) == 7
    assert found["HitRate", HERE] == [40.0]
    assert len(found["LatencySeconds", HERE]) == 7
    assert found["UpstreamErrors", HERE] == [1]
    assert found["SpentUSD", HERE] == [pytest.approx(2 * 0.0035)]  # 1,000 and 500 tokens, at 1 and 5 dollars a million
    assert found["SavedUSD", HERE] == [pytest.approx(2 * 0.0035)]
    assert found["StoreErrors", HERE] == [0]


def test_nothing_is_told_unless_it_is_wanted(capsys):
    with Inside() as inside:
        inside.upstream.says = says()
        assert inside.ask("/v1/chat/completions", chat()).status == 200
    assert told(capsys) == ({}, 0)


def emf(**options):
    lines = []
    return Emf("shop", lines.append, now=lambda: 1_795_551_168.0, **options), lines


def ended(seconds=0.01):
    return Exchange(method="POST", route="pass", started=0.0, upstream_status=200, seconds=seconds)


def test_it_is_told_so_long_after_the_first_thing_and_then_not_before_the_next():
    async def go():
        lines, come = [], asyncio.Event()

        def write(line):
            lines.append(line)
            come.set()

        counting = Emf("shop", write, every_seconds=0.05)
        counting.ended(ended())
        counting.ended(ended())
        await asyncio.wait_for(come.wait(), 20)
        assert extracted(lines)["Requests", HERE] == [2]
        counting.ended(ended())
        await counting.close()
        assert extracted(lines)["Requests", HERE] == [2, 1]
        await counting.close()
        assert len(lines) == 2

    asyncio.run(go())


def test_what_goes_on_behind_is_counted():
    events = [
        Event(call="label", outcome="same", served=True),
        Event(call="label", outcome="same", served=True, spent_usd=0.25),
        Event(call="label", outcome="different", served=True),
        Event(call="label", outcome="unsure", served=True),
        Event(call="label", outcome="different"),  # of the shadow: nobody was told that answer
        Event(call="answer", outcome="hit", tier="semantic", error_upper=0.031, saved_usd=0.5),
        Event(call="answer", outcome="hit", tier="semantic", error_upper=0.05),
        Event(call="answer", outcome="miss", reason=MissReason.EMBEDDER_UNAVAILABLE, spent_usd=0.25),
        Event(call="standing", outcome="tightened", before="serving"),
        Event(call="standing", outcome="exact_only", before="shadow"),  # it had none
        Event(call="standing", outcome="serving", before="serving"),  # a newer one
        Event(call="remember", outcome="failed"),
        Event(call="remember", outcome="stored"),
    ]

    async def go():
        counting, lines = emf()
        for event in events:
            counting(event)
        await counting.tell()
        return extracted(lines)

    found = asyncio.run(go())
    assert found["WrongRate", HERE] == [pytest.approx(100 / 3)]
    assert found["WrongRateUpperBound", HERE] == [pytest.approx(5.0)]
    assert found["CertificateLost", HERE] == [1]
    assert found["StoreErrors", HERE] == [1]
    assert found["EmbedderErrors", HERE] == [1]
    assert found["SavedUSD", HERE] == [0.5]
    assert found["SpentUSD", HERE] == [0.5]


def test_evictions_are_those_since_the_last_time():
    evicted = iter([5, 5, 9])

    async def stats():
        return SimpleNamespace(evicted=next(evicted))

    async def go():
        counting, lines = emf(evicting=lambda: SimpleNamespace(store=SimpleNamespace(stats=stats)))
        for _ in range(3):
            counting.ended(ended())
            await counting.tell()
        return extracted(lines)

    assert asyncio.run(go())["Evictions", HERE] == [0, 4]
