"""What the gateway counts, by the counter's own page: in process for the rules, in real processes for the wiring."""

import asyncio
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from upstreams.processes import running_gateway, running_upstream
from yamabiko import Policy, Reply, Request, open_cache
from yamabiko.errors import StoreUnavailable
from yamabiko.gateway.exchange import Caller, Exchange, Refused, asking
from yamabiko.gateway.metrics import METRICS, Metrics, metrics_table
from yamabiko.gateway.outcomes import level_of
from yamabiko.gateway.scrape import Scrape, bury_dead
from yamabiko.learn.namespaces import namespace_of
from yamabiko.telemetry import Event
from yamabiko.testing import FakeEmbedder
from yamabiko.types import MissReason, Usage

ROOT = Path(__file__).resolve().parent.parent
MARK = "zanzibar-marker"


def scraped(metrics, cache=None, **parts):
    """The page as Prometheus reads it: (name, labels) -> value."""
    status, headers, body = asyncio.run(get(Scrape(metrics, lambda: cache), **parts))
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain")
    return values(body.decode())


async def get(scrape, *, method="GET", path=b"/metrics", headers=()):
    sent = []

    async def send(message):
        sent.append(message)

    await scrape({"method": method, "raw_path": path, "headers": list(headers)}, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def values(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(page, name, **labels):
    return page.get((name, tuple(sorted(labels.items()))), 0.0)


def exchange(metrics, outcome=None, *, route="chat", status=200, seconds=0.002, **parts):
    """One request that is over."""
    told = Exchange(method="POST", route=route, started=0.0, observers=(metrics,), upstream="openai", **parts)
    metrics.begun(told, {"headers": []})
    told.outcome, told.status, told.seconds = outcome, status, seconds
    told.first_byte_seconds = seconds
    metrics.ended(told)
    return told


@pytest.fixture(scope="module")
def outcomes():
    """A real miss and a real hit."""

    async def made():
        policy = Policy(max_error_rate=None, semantic=False)
        async with open_cache("memory://", embedder="none", policy=policy) as cache:
            request = Request("What is an echo?", model="m", tenant=MARK)
            miss = await cache.lookup(request)
            await cache.remember(miss, Reply(text="A sound.", usage=Usage(input_tokens=5, output_tokens=7)))
            return miss, await cache.lookup(request)

    return asyncio.run(made())


class TestWhatClientsSee:
    def test_requests_are_counted_by_dialect_tier_and_reason(self, outcomes):
        metrics = Metrics()
        miss, hit = outcomes
        exchange(metrics, miss, route="messages")
        exchange(metrics, hit)
        exchange(metrics, hit)
        exchange(metrics, route="pass", upstream_status=200)
        exchange(metrics, status=401, error="unauthorized")
        page = scraped(metrics)
        assert value(page, "yamabiko_requests_total", dialect="messages", tier="miss", reason="absent") == 1
        assert value(page, "yamabiko_requests_total", dialect="chat", tier="exact", reason="none") == 2
        assert value(page, "yamabiko_requests_total", dialect="pass", tier="pass", reason="none") == 1
        assert value(page, "yamabiko_requests_total", dialect="chat", tier="refused", reason="none") == 1
        assert value(page, "yamabiko_responses_total", dialect="chat", status="4xx") == 1
        assert value(page, "yamabiko_errors_total", code="unauthorized") == 1

    @pytest.mark.parametrize("reason", MissReason)
    def test_every_reason_of_a_miss_is_a_label_as_it_is(self, outcomes, reason):
        metrics = Metrics()
        exchange(metrics, replace(outcomes[0], reason=reason))
        page = scraped(metrics)
        assert value(page, "yamabiko_requests_total", dialect="chat", tier="miss", reason=reason.value) == 1

    def test_latencies_fall_into_buckets_from_half_a_millisecond_to_a_minute(self, outcomes):
        metrics = Metrics()
        for seconds in (0.0004, 0.0006, 45.0, 90.0):
            exchange(metrics, outcomes[1], seconds=seconds)
        page = scraped(metrics)
        upto = {
            bound: value(page, "yamabiko_request_seconds_bucket", tier="exact", le=bound)
            for bound in ("0.0005", "0.001", "60.0", "+Inf")
        }
        assert upto == {"0.0005": 1, "0.001": 2, "60.0": 3, "+Inf": 4}

    def test_the_first_byte_is_timed_where_an_answer_is_streamed(self, outcomes):
        metrics = Metrics()
        exchange(metrics, outcomes[0])
        exchange(metrics, outcomes[0], stream=True)
        assert value(scraped(metrics), "yamabiko_first_byte_seconds_count", tier="miss") == 1

    def test_what_is_under_way_is_a_gauge_and_so_are_followers(self, outcomes):
        metrics = Metrics()
        leader, follower = (Exchange(method="POST", route="chat", started=0.0) for _ in range(2))
        for told in (leader, follower):
            metrics.begun(told, {"headers": []})
        follower.shared = True
        page = scraped(metrics)
        assert value(page, "yamabiko_in_flight_requests") == 2
        assert value(page, "yamabiko_in_flight_followers") == 1
        for told in (leader, follower):
            metrics.ended(told)
        page = scraped(metrics)
        assert value(page, "yamabiko_in_flight_requests") == 0
        assert value(page, "yamabiko_in_flight_followers") == 0
        assert value(page, "yamabiko_shared_total") == 1

    def test_stale_answers_are_counted_by_why_they_were_served(self, outcomes):
        metrics = Metrics()
        stale = replace(outcomes[1], stale=True)
        exchange(metrics, stale)
        told = Exchange(method="POST", route="chat", started=0.0, stale_if_error=True, outcome=stale)
        metrics.begun(told, {"headers": []})
        metrics.ended(told)
        page = scraped(metrics)
        assert value(page, "yamabiko_stale_total", cause="renewing") == 1
        assert value(page, "yamabiko_stale_total", cause="upstream_error") == 1

    def test_a_dead_store_makes_it_a_plain_proxy_until_the_store_is_back(self, outcomes):
        metrics = Metrics()
        dead = replace(outcomes[0], reason=MissReason.STORE_UNAVAILABLE)

        def proxy():
            metrics.sample(cache_is_open=True)
            return metrics.registry.get_sample_value("yamabiko_plain_proxy")

        assert proxy() == 0
        exchange(metrics, dead)
        assert proxy() == 1
        assert metrics.registry.get_sample_value("yamabiko_store_errors_total", {"operation": "read"}) == 1
        exchange(metrics, replace(outcomes[0], key=None, reason=MissReason.BYPASS))
        assert proxy() == 1, "a request that asks nothing of the store says nothing of it"
        exchange(metrics, outcomes[1])
        assert proxy() == 0
        assert value(scraped(metrics, cache=None), "yamabiko_plain_proxy") == 1, "no cache could be opened"


class TestUpstreams:
    @pytest.mark.parametrize(
        ("status", "error", "counted"),
        [
            *[(200, "", "2xx"), (404, "", "4xx"), (429, "", "429"), (503, "", "5xx"), (0, "upstream_timeout", "none")],
            *[(200, "upstream_broken", "broken"), (200, "given_up", "given_up"), (0, "given_up", "given_up")],
        ],
    )
    def test_calls_are_counted_by_class_of_status(self, status, error, counted):
        metrics = Metrics()
        told = Exchange(method="POST", route="chat", started=0.0, observers=(metrics,), upstream="openai")
        with asking(told) as call:
            assert metrics.registry.get_sample_value("yamabiko_upstream_in_flight", {"upstream": "openai"}) == 1
            if status:
                call.answered(status, 3)
            call.error = error
        page = scraped(metrics)
        assert value(page, "yamabiko_upstream_calls_total", upstream="openai", status=counted) == 1
        assert value(page, "yamabiko_upstream_in_flight", upstream="openai") == 0
        assert value(page, "yamabiko_upstream_retries_total", upstream="openai") == (2 if status else 0)

    def test_a_call_that_raises_is_over_as_well_and_keeps_its_code(self):
        metrics = Metrics()
        told = Exchange(method="POST", route="chat", started=0.0, observers=(metrics,), upstream="openai")
        with pytest.raises(Refused), asking(told):
            raise Refused(502, "upstream_unreachable", "the upstream openai can't be reached")
        assert value(scraped(metrics), "yamabiko_upstream_calls_total", upstream="openai", status="none") == 1

    def test_tokens_and_time_are_those_of_whole_answers(self):
        metrics = Metrics()
        told = Exchange(method="POST", route="chat", started=0.0, observers=(metrics,), upstream="openai")
        with asking(told) as call:
            call.answered(200, 1)
            call.reply, call.error = Reply(text="x", usage=Usage(input_tokens=11, output_tokens=13)), ""
        page = scraped(metrics)
        assert value(page, "yamabiko_tokens_total", source="upstream", direction="input") == 11
        assert value(page, "yamabiko_tokens_total", source="upstream", direction="output") == 13
        assert value(page, "yamabiko_spent_seconds_total") > 0


class TestTheCachesHook:
    def test_what_goes_on_behind_is_counted(self):
        metrics = Metrics()
        for event in (
            Event(call="stream", outcome="hit", tier="exact", saved_usd=0.5, saved_seconds=2.0),
            Event(call="answer", outcome="miss", reason=MissReason.ABSENT, spent_usd=0.25, embed_seconds=0.01),
            Event(call="stream", outcome="miss", reason=MissReason.EMBEDDER_UNAVAILABLE, embed_seconds=0.01),
            Event(call="remember", outcome="stored"),
            Event(call="remember", outcome="failed"),
            Event(call="renew", outcome="refused", spent_usd=0.125),
            Event(call="label", outcome="different", spent_usd=1.0),
            Event(call="standing", outcome="tightened", namespace=namespace_of("e5", "ACME", "billing")),
            Event(call="forged", outcome="refused"),
        ):
            metrics(event)
        page = scraped(metrics)
        expected = {
            ("yamabiko_saved_usd_total", ()): 0.5,
            ("yamabiko_saved_seconds_total", ()): 2.0,
            ("yamabiko_spent_usd_total", (("purpose", "answer"),)): 0.25,
            ("yamabiko_spent_usd_total", (("purpose", "renewal"),)): 0.125,
            ("yamabiko_spent_usd_total", (("purpose", "label"),)): 1.0,
            ("yamabiko_writes_total", (("call", "remember"), ("outcome", "stored"))): 1,
            ("yamabiko_writes_total", (("call", "renew"), ("outcome", "refused"))): 1,
            ("yamabiko_store_errors_total", (("operation", "write"),)): 1,
            ("yamabiko_embedder_errors_total", ()): 1,
            ("yamabiko_exact_only", ()): 1,
            ("yamabiko_labels_total", (("verdict", "different"),)): 1,
            ("yamabiko_standing_transitions_total", (("level", "category"), ("state", "tightened"))): 1,
            ("yamabiko_forged_total", ()): 1,
            ("yamabiko_step_seconds_count", (("step", "embed"),)): 1,
        }
        assert {key: page.get(key) for key in expected} == expected
        metrics(Event(call="stream", outcome="miss", reason=MissReason.EXPIRED, embed_seconds=0.01))
        assert value(scraped(metrics), "yamabiko_exact_only") == 1, "who was told of an old answer says nothing of it"
        metrics(
            Event(call="stream", outcome="miss", reason=MissReason.EXPIRED, embed_seconds=0.01, search_seconds=0.01)
        )
        assert value(scraped(metrics), "yamabiko_exact_only") == 0

    @given(st.text(max_size=50), st.text(max_size=50), st.booleans())
    def test_a_namespaces_level_says_nothing_of_whose_it_is(self, tenant, category, experiment):
        namespace = namespace_of("all-MiniLM-L6-v2", tenant, category) + ("/x:trial" if experiment else "")
        expected = "experiment" if experiment else "category" if category else "tenant" if tenant else "model"
        assert level_of(namespace) == expected

    def test_a_near_miss_by_meaning_is_counted(self):
        async def missed():
            policy = Policy(max_error_rate=None, min_similarity=0.999, near_miss_margin=1.9)
            async with open_cache("memory://", embedder=FakeEmbedder(), policy=policy) as cache:
                await cache.remember(await cache.lookup("how do I reset my password"), "Like this.")
                return await cache.lookup("how do I reset the password")

        metrics = Metrics()
        outcome = asyncio.run(missed())
        exchange(metrics, outcome)
        assert value(scraped(metrics), "yamabiko_near_misses_total") == 1


class TestThePage:
    def test_nobodys_texts_names_or_keys_are_on_it_and_labels_stay_few(self, outcomes):
        metrics = Metrics()
        miss, hit = outcomes
        for number in range(50):
            caller = Caller(tenant=f"{MARK}-{number}", user=MARK, digest=f"{number:032x}")
            exchange(metrics, miss, caller=caller, model=f"{MARK}-{number}", finish_reason=MARK)
            exchange(metrics, hit, caller=caller, model=MARK)
            metrics(Event(call="standing", outcome="shadow", namespace=namespace_of("m", f"{MARK}{number}", "")))
            metrics(Event(call="stream", outcome="hit", tier="exact", model=f"{MARK}-{number}", key=f"{number:016x}"))
        _, _, body = asyncio.run(get(Scrape(metrics, lambda: None)))
        assert MARK.encode() not in body
        before = len(values(body.decode()))
        exchange(metrics, miss, model="another", caller=Caller(tenant="another"))
        assert len(scraped(metrics)) == before

    def test_every_metric_of_the_list_is_on_it_once_it_has_happened_and_no_other(self, tmp_path):
        async def page():
            metrics = Metrics()
            async with open_cache(f"sqlite:///{tmp_path}/c.db", embedder="none", hooks=[metrics]) as cache:
                return (await get(Scrape(metrics, lambda: cache)))[2].decode()

        kinds = dict(re.findall(r"^# TYPE (yamabiko_\S+) (\w+)$", asyncio.run(page()), flags=re.MULTILINE))
        assert kinds == {metric.name: metric.kind for metric in METRICS}

    def test_the_stores_own_counts_come_with_it(self, tmp_path):
        async def page():
            async with open_cache(f"sqlite:///{tmp_path}/c.db?max_bytes=4KiB", embedder="none") as cache:
                for number in range(20):
                    await cache.remember(await cache.lookup(f"question {number}"), "x" * 500)
                stats = await cache.stats()
                return stats, values((await get(Scrape(Metrics(), lambda: cache)))[2].decode())

        stats, found = asyncio.run(page())
        assert stats.evicted > 0
        assert value(found, "yamabiko_store_evictions_total") == stats.evicted
        assert value(found, "yamabiko_store_entries") == stats.entries
        assert value(found, "yamabiko_store_bytes") == stats.payload_bytes

    def test_a_store_that_does_not_answer_takes_nothing_else_away(self):
        class Dead:
            async def stats(self):
                raise StoreUnavailable("gone")

        cache = type("Open", (), {"store": Dead()})()
        page = scraped(Metrics(), cache)
        assert value(page, "yamabiko_in_flight_requests") == 0
        assert ("yamabiko_store_entries", ()) not in page

    def test_it_can_be_read_and_nothing_else(self):
        scrape = Scrape(Metrics(), lambda: None)
        assert asyncio.run(get(scrape, method="POST"))[0] == 405
        assert asyncio.run(get(scrape, path=b"/metrics/x"))[0] == 404
        status, headers, body = asyncio.run(get(scrape, method="HEAD"))
        assert (status, body) == (200, b"")
        openmetrics = [(b"accept", b"application/openmetrics-text; version=1.0.0")]
        _, headers, body = asyncio.run(get(scrape, headers=openmetrics))
        assert headers[b"content-type"].startswith(b"application/openmetrics-text")
        assert body.endswith(b"# EOF\n")

    def test_the_documentation_lists_what_is_there(self):
        assert metrics_table() in (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


def until(gateway, enough):
    """The page as soon as it says enough: what is counted is counted after the client has its answer."""
    deadline = time.monotonic() + 20
    while True:
        text = httpx.get(f"{gateway.root}/metrics").text
        found = values(text)
        if enough(found) or time.monotonic() > deadline:
            return text, found


def requests_in(found):
    return sum(number for (name, _), number in found.items() if name == "yamabiko_requests_total")


class TestProcesses:
    def test_a_gateway_counts_what_its_clients_did(self, tmp_path):
        with (
            running_upstream() as upstream,
            running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway,
        ):
            for _ in range(3):
                gateway.ask(f"counted {MARK}")
            gateway.ask("no", order={"status": 500, "body": "x"})
            stored = {"call": "remember", "outcome": "stored"}
            page, found = until(gateway, lambda found: value(found, "yamabiko_writes_total", **stored))
        assert MARK not in page
        assert value(found, "yamabiko_requests_total", dialect="chat", tier="miss", reason="absent") == 2
        assert value(found, "yamabiko_requests_total", dialect="chat", tier="exact", reason="none") == 2
        assert value(found, "yamabiko_upstream_calls_total", upstream="openai", status="2xx") == 1
        assert value(found, "yamabiko_upstream_calls_total", upstream="openai", status="5xx") == 1
        assert value(found, "yamabiko_writes_total", **stored) == 1
        assert value(found, "yamabiko_plain_proxy") == 0
        assert value(found, "process_resident_memory_bytes") > 0

    def test_who_waits_for_anothers_call_is_in_flight_without_one(self, tmp_path):
        with (
            running_upstream() as upstream,
            running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway,
            ThreadPoolExecutor() as threads,
        ):
            asked = [threads.submit(gateway.ask, "shared", order={"gate": "held"}) for _ in range(5)]
            upstream.wait_at("held")
            _, found = until(gateway, lambda found: value(found, "yamabiko_in_flight_requests") == 5)
            assert value(found, "yamabiko_in_flight_requests") == 5
            assert value(found, "yamabiko_upstream_in_flight", upstream="openai") == 1
            upstream.open("held")
            assert [answer.result().status_code for answer in asked] == [200] * 5
            _, found = until(gateway, lambda found: requests_in(found) == 5)
        assert value(found, "yamabiko_in_flight_requests") == 0
        assert value(found, "yamabiko_shared_total") == 4
        assert value(found, "yamabiko_upstream_calls_total", upstream="openai", status="2xx") == 1

    def test_any_of_several_workers_answers_for_all_and_for_those_that_died(self, tmp_path):
        with (
            running_upstream() as upstream,
            running_gateway("--workers", "2", url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway,
        ):
            for _ in range(12):
                gateway.ask("the same")
            for _ in range(4):  # each over a connection of its own, so that both workers are asked
                _, found = until(gateway, lambda found: requests_in(found) == 12)
                assert requests_in(found) == 12
                assert [number for (name, _), number in found.items() if name == "yamabiko_build_info"] == [1]
            os.kill(next(iter(children(gateway.process.pid))), signal.SIGKILL)
            answered = 0
            while not answered:
                with suppress(httpx.TransportError):  # a connection that the dead worker had
                    answered = gateway.ask("the same").status_code == 200
            _, found = until(gateway, lambda found: requests_in(found) == 13)
            assert requests_in(found) == 13
            assert value(found, "yamabiko_in_flight_requests") == 0

    def test_what_a_dead_worker_had_under_way_is_forgotten(self, tmp_path):
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(pid, 0)
        for name in (f"gauge_livesum_{pid}.db", f"gauge_livemax_{os.getpid()}.db", f"counter_{pid}.db"):
            (tmp_path / name).write_bytes(b"")
        bury_dead(str(tmp_path))
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == sorted([f"counter_{pid}.db", f"gauge_livemax_{os.getpid()}.db"])


def children(pid):
    """The worker processes of a gateway: those that import the program, and not the resource tracker."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
            line = status.with_name("cmdline").read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid and "spawn_main" in line:
            found.append(int(text.split()[0]))
    return found


def test_the_list_is_made_of_names_that_prometheus_takes():
    for metric in METRICS:
        assert re.fullmatch(r"yamabiko_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert json.dumps(metric.doc).isascii()
