"""The gateway as its clients meet it: a real process between real sockets, in front of a simulated model server."""

import asyncio
import json
import socket

import httpx
import pytest

from upstreams.processes import chat, ordered, running_gateway, running_upstream

KEY = {"authorization": "Bearer k"}


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('gateway')}/cache.db"
    with running_gateway(url=url, upstream=upstream) as gateway:
        yield gateway


def content(response):
    return response.json()["choices"][0]["message"]["content"]


def events(response):
    return events_in(response.text)


def said_in(data):
    return [
        event["choices"][0]["delta"]["content"]
        for event in events_in(data.decode())
        if event["choices"][0]["delta"].get("content")
    ]


def events_in(text):
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(item) for item in data]


def said(response):
    return said_in(response.content)


def status_of(response):
    return response.headers["cache-status"].partition(";")[2].split(";")[0].strip()


class TestCaching:
    def test_a_repeated_question_is_answered_without_the_upstream(self, gateway, upstream):
        miss, hit = gateway.ask("repeated"), gateway.ask("repeated")
        assert (status_of(miss), status_of(hit)) == ("fwd=miss", "hit")
        assert content(miss) == content(hit)
        assert upstream.questions().count("repeated") == 1

    def test_a_hit_says_how_old_it_is_and_names_its_entry(self, gateway):
        gateway.ask("headers")
        hit = gateway.ask("headers")
        assert hit.headers["x-yamabiko-tier"] == "exact"
        assert int(hit.headers["age"]) >= 0
        assert len(hit.headers["x-yamabiko-entry"]) == 64
        assert hit.headers["content-type"] == "application/json"

    def test_a_stored_stream_serves_a_plain_request_and_the_reverse(self, gateway, upstream):
        streamed, plain = gateway.ask("one way", stream=True), gateway.ask("one way")
        assert "".join(said(streamed)) == content(plain)
        assert status_of(plain) == "hit"
        plain, streamed = gateway.ask("other way"), gateway.ask("other way", stream=True)
        assert "".join(said(streamed)) == content(plain)
        assert status_of(streamed) == "hit"

    def test_a_replay_keeps_the_pieces_of_the_stream(self, gateway):
        first, again = gateway.ask("in pieces, please", stream=True), gateway.ask("in pieces, please", stream=True)
        assert status_of(again) == "hit"
        assert said(first) == said(again)
        assert len(said(first)) > 3

    def test_another_credential_shares_nothing(self, gateway, upstream):
        gateway.ask("whose is it")
        other = gateway.ask("whose is it", headers={"authorization": "Bearer another"})
        assert status_of(other) == "fwd=miss"
        assert upstream.questions().count("whose is it") == 2

    def test_without_a_credential_nothing_is_shared_or_stored(self, gateway, upstream):
        for _ in range(2):
            response = httpx.post(f"{gateway.url}/chat/completions", json=chat("nobody asks"))
            assert status_of(response) == "fwd=bypass"
        assert upstream.questions().count("nobody asks") == 2

    @pytest.mark.parametrize(
        "body",
        [
            {"n": 2},
            {"modalities": ["text", "audio"]},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
            {"messages": [{"role": "tool", "tool_call_id": "1", "content": "12"}]},
        ],
    )
    def test_what_must_not_be_cached_passes_each_time(self, gateway, upstream, body):
        before = len(upstream.calls())
        responses = [gateway.ask("uncacheable", **body) for _ in range(2)]
        assert [status_of(response) for response in responses] == ["fwd=bypass"] * 2
        assert len(upstream.calls()) == before + 2

    def test_a_body_that_can_be_read_in_two_ways_is_passed_on_and_not_stored(self, gateway, upstream):
        first = json.dumps(chat("harmless"))[:-1] + ', "messages": [{"role": "user", "content": "planted"}]}'
        for _ in range(2):
            response = httpx.post(f"{gateway.url}/chat/completions", content=first, headers=KEY)
            assert status_of(response) == "fwd=bypass"
        assert status_of(gateway.ask("planted")) == "fwd=miss"

    def test_a_body_that_is_no_json_is_the_upstreams_to_judge(self, gateway, upstream):
        before = len(upstream.calls())
        body = b'{"model": "m", "messages": "not a list"}'
        order = ordered({"status": 400, "body": "what is that"})
        response = httpx.post(f"{gateway.url}/chat/completions", content=body, headers=KEY | order)
        assert (response.status_code, response.text) == (400, "what is that")
        assert upstream.calls()[before]["body"] == body.decode()


class TestStale:
    def test_an_answer_past_its_expiry_stands_in_for_an_upstream_that_fails(self, upstream, tmp_path):
        lives = {"policy__ttl_seconds": "0.05", "policy__stale_seconds": "1h"}
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, **lives) as gateway:
            first = gateway.ask("what was it")
            while (
                "detail=stale"
                not in (again := gateway.ask("what was it", order={"status": 500})).headers["cache-status"]
            ):
                pass  # until it has expired
            assert (again.status_code, content(again)) == (200, content(first))
            assert status_of(again) == "hit"

    def test_without_a_stale_window_the_error_passes(self, upstream, tmp_path):
        lives = {"policy__ttl_seconds": "0.05"}
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, **lives) as gateway:
            gateway.ask("it was")
            while status_of(again := gateway.ask("it was", order={"status": 500, "body": "sorry"})) == "hit":
                pass  # until it has expired
            assert (again.status_code, again.text) == (500, "sorry")


class TestPacing:
    def test_a_replay_can_be_paced(self, upstream, tmp_path):
        pace = {"gateway__replay_seconds": "0.02"}
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, **pace) as gateway:
            first = gateway.ask("piece by piece", stream=True)
            with httpx.stream(
                "POST", f"{gateway.url}/chat/completions", json=chat("piece by piece", stream=True), headers=KEY
            ) as again:
                pieces = [piece for piece in again.iter_raw() if piece]
        assert "hit" in again.headers["cache-status"]
        assert len(pieces) > 3
        assert said_in(b"".join(pieces)) == said(first)


class TestErrors:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    def test_an_error_passes_as_it_came_and_is_not_stored(self, gateway, status, stream):
        order = {"status": status, "body": '{"error": {"message": "no"}}', "headers": {"retry-after": "7", "x-a": "b"}}
        failed = gateway.ask(f"fails {status} {stream}", stream=stream, order=order)
        assert (failed.status_code, failed.text) == (status, order["body"])
        assert (failed.headers["retry-after"], failed.headers["x-a"]) == ("7", "b")
        assert gateway.ask(f"fails {status} {stream}", stream=stream).status_code == 200

    def test_a_stream_that_is_cut_tells_the_client_and_is_not_stored(self, gateway):
        cut = gateway.ask("this one is cut in the middle", stream=True, order={"cut_after": 3})
        assert "[DONE]" not in cut.text
        last = cut.text.strip().rpartition("\n\n")[2]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_broken"
        assert status_of(gateway.ask("this one is cut in the middle", stream=True)) == "fwd=miss"

    @pytest.mark.parametrize("order", [{"malformed": 2}, {"no_done": True}, {"choice": {"finish_reason": "length"}}])
    def test_a_stream_that_is_not_whole_passes_as_it_came_and_is_not_stored(self, gateway, order):
        question = f"not whole {sorted(order)}"
        response = gateway.ask(question, stream=True, order=order)
        assert response.status_code == 200
        assert ("{this is no JSON" in response.text) == ("malformed" in order)
        assert ("[DONE]" in response.text) == ("no_done" not in order)
        assert status_of(gateway.ask(question, stream=True)) == "fwd=miss"

    def test_a_stream_with_what_is_no_json_anywhere_passes_and_is_not_stored(self, gateway):
        order = {"delta": {"odd": float("inf")}}  # Python writes and reads it; JSON has no such number
        response = gateway.ask("infinite", stream=True, order=order)
        assert response.status_code == 200
        assert response.text.endswith("data: [DONE]\n\n")
        assert status_of(gateway.ask("infinite", stream=True)) == "fwd=miss"

    def test_an_answer_that_can_not_be_read_passes_and_is_not_stored(self, gateway):
        odd = gateway.ask("odd", order={"status": 200, "body": "<html>", "headers": {"content-type": "text/html"}})
        assert (odd.status_code, odd.text) == (200, "<html>")
        assert status_of(gateway.ask("odd")) == "fwd=miss"

    def test_a_document_where_a_stream_was_asked_for_passes_and_is_stored(self, gateway):
        plain = gateway.ask("no stream", stream=True, order={"plain": True})
        again = gateway.ask("no stream", stream=True)
        assert status_of(again) == "hit"
        assert "".join(said(again)) == content(plain)

    def test_calls_of_tools_reach_everybody_and_are_not_stored(self, gateway):
        calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        order = {"delta": {"tool_calls": calls}, "choice": {"finish_reason": "tool_calls"}}
        asked = gateway.ask("tools", order=order)
        assert asked.json()["choices"][0]["message"]["tool_calls"] == calls
        assert status_of(gateway.ask("tools")) == "fwd=miss"


class TestSharing:
    """Many ask the same at once: one call, and everybody gets its bytes."""

    async def _wait_for_followers(self, client, gateway, count):
        while (await client.get(f"{gateway.root}/readyz")).json()["in_flight"] < count:
            pass
        # What they look up first is read in order: when this one has been, so have they.
        await client.post(f"{gateway.url}/chat/completions", json=chat("something else"), headers={"x-order": "{}"})

    def test_identical_concurrent_misses_are_one_call(self, gateway, upstream):
        async def ask_all():
            order = ordered({"gate": "crowd"})
            limits = httpx.Limits(max_connections=200)
            async with httpx.AsyncClient(headers=KEY | order, limits=limits, timeout=30) as client:
                post = [client.post(f"{gateway.url}/chat/completions", json=chat("crowd")) for _ in range(100)]
                asked = asyncio.gather(*post)
                await self._wait_for_followers(client, gateway, 100)
                upstream.open("crowd")
                return await asked

        responses = asyncio.run(ask_all())
        assert upstream.questions().count("crowd") == 1
        assert len({response.content for response in responses}) == 1  # the very bytes, id and all
        assert sum("collapsed" in response.headers["cache-status"] for response in responses) == 99
        assert sum("set-cookie" in response.headers for response in responses) == 1

    def test_a_follower_gets_what_it_missed_at_once_and_then_what_comes(self, gateway, upstream):
        async def follow():
            order = ordered({"gate": "half", "pause_after": 3})
            async with httpx.AsyncClient(headers=KEY | order, timeout=30) as client:
                url, body = f"{gateway.url}/chat/completions", chat("a stream for two or more", stream=True)
                async with client.stream("POST", url, json=body) as leader:
                    lines = leader.aiter_lines()
                    missed = [await anext(lines) for _ in range(8)]
                    async with client.stream("POST", url, json=body) as follower:
                        followed = follower.aiter_lines()
                        caught_up = [await anext(followed) for _ in range(8)]
                        upstream.open("half")
                        return missed, caught_up, [x async for x in lines], [x async for x in followed]

        missed, caught_up, rest, rest_of_follower = asyncio.run(follow())
        assert missed == caught_up
        assert rest == rest_of_follower
        assert rest[-2:] == ["data: [DONE]", ""]
        assert upstream.questions().count("a stream for two or more") == 1

    def test_a_follower_in_another_form_gets_the_same_answer(self, gateway, upstream):
        async def both():
            order = ordered({"gate": "forms", "pause_after": 2})
            async with httpx.AsyncClient(headers=KEY | order, timeout=30) as client:
                url = f"{gateway.url}/chat/completions"
                streamed = asyncio.create_task(client.post(url, json=chat("both forms", stream=True)))
                await asyncio.to_thread(upstream.wait_at, "forms")
                usage = {"include_usage": True}
                others = [chat("both forms"), chat("both forms", stream=True, stream_options=usage)]
                asked = asyncio.gather(*(client.post(url, json=body) for body in others))
                await self._wait_for_followers(client, gateway, 3)
                upstream.open("forms")
                return await streamed, *await asked

        streamed, plain, counted = asyncio.run(both())
        assert "".join(said(streamed)) == content(plain) == "".join(c for c in said_all(counted))
        assert upstream.questions().count("both forms") == 1

    def test_followers_of_a_failed_call_get_its_error(self, gateway, upstream):
        async def ask_all():
            order = ordered({"gate": "doomed", "status": 429, "body": "slow down", "headers": {"retry-after": "3"}})
            async with httpx.AsyncClient(headers=KEY | order, timeout=30) as client:
                asked = asyncio.gather(
                    *(client.post(f"{gateway.url}/chat/completions", json=chat("doomed")) for _ in range(5))
                )
                await self._wait_for_followers(client, gateway, 5)
                upstream.open("doomed")
                return await asked

        responses = asyncio.run(ask_all())
        assert {(r.status_code, r.text, r.headers["retry-after"]) for r in responses} == {(429, "slow down", "3")}
        assert upstream.questions().count("doomed") == 1

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_client_that_goes_away_does_not_lose_the_entry(self, gateway, upstream, stream):
        question, gate = f"left alone {stream}", f"left{stream}"
        leave(gateway, upstream, chat(question, stream=stream), gate)
        upstream.open(gate)
        assert gateway.ask(question).status_code == 200
        assert status_of(gateway.ask(question)) == "hit"
        assert upstream.questions().count(question) == 1

    def test_a_leader_that_goes_away_takes_nothing_from_its_followers(self, gateway, upstream):
        async def ask():
            order = ordered({"gate": "orphan", "pause_after": 1})
            async with httpx.AsyncClient(headers=KEY | order, timeout=30) as client:
                url, body = f"{gateway.url}/chat/completions", chat("who leads now", stream=True)
                async with client.stream("POST", url, json=body) as leader:
                    await anext(leader.aiter_lines())
                    asked = asyncio.create_task(client.post(url, json=body))
                    await self._wait_for_followers(client, gateway, 2)
                upstream.open("orphan")
                return await asked

        assert "".join(said(asyncio.run(ask()))).endswith("to: who leads now")
        assert upstream.questions().count("who leads now") == 1

    def test_what_bypasses_the_cache_ends_with_its_client(self, gateway, upstream):
        leave(gateway, upstream, chat("nobody waits", n=2), "ends")
        while in_flight(gateway):
            pass  # until the gateway has heard that its client hung up
        upstream.open("ends")


def said_all(response):
    return [e["choices"][0]["delta"].get("content") or "" for e in events(response) if e["choices"]]


def leave(gateway, upstream, body, gate):
    """Sends a request and hangs up once it has reached the upstream."""
    data = json.dumps(body).encode()
    order = json.dumps({"gate": gate})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\nx-order: {order}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.root).port)) as connection:
        connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        upstream.wait_at(gate)


def in_flight(gateway):
    return httpx.get(f"{gateway.root}/readyz").json()["in_flight"]
