"""Two workers and one store: a crowd of clients, and one of the workers killed in their midst.

``make soak`` runs the same with 64 clients for a minute.
"""

import asyncio
import json
import re
import uuid

import httpx
import pytest

from upstreams.crowd import trouble
from upstreams.processes import chat, ordered, running_gateway, running_upstream

CROWD = 500


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(params=["sqlite", "valkey"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cache.db"
    engine = request.getfixturevalue("engine")
    return f"valkey://127.0.0.1:{engine.port}?name=chaos-{uuid.uuid4().hex[:12]}"


def test_a_worker_is_killed_and_no_answer_is_wrong_lost_or_waited_for_in_vain(url, upstream):
    with running_gateway("--workers", "2", url=url, upstream=upstream) as gateway:
        seen, kept = asyncio.run(trouble(gateway, url, clients=16, seconds=3))
        assert seen.wrong == []
        assert kept > 0
        assert {kind for kind in seen.outcomes if kind.startswith("200")} == {"200 hit", "200 fwd=miss"}
        assert sum(count for kind, count in seen.outcomes.items() if not kind.startswith("200")) <= 2 * 16
        assert gateway.process.poll() is None


def test_five_hundred_ask_the_same_at_once_and_the_upstream_is_asked_once(url, upstream):
    gate = uuid.uuid4().hex
    question = f"Who asks this? {gate}"

    async def ask_all(gateway):
        host, port = gateway.root.removeprefix("http://").split(":")
        body = json.dumps(chat(question)).encode()
        head = {"host": host, "authorization": "Bearer k", **ordered({"gate": gate}), "connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in (head | {"content-length": len(body)}).items()]
        request = f"POST /v1/chat/completions HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body
        asked = asyncio.gather(*(one(host, port, request) for _ in range(CROWD)))
        async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0)) as another:
            while await in_flight(another, gateway) < CROWD:
                pass
        upstream.open(gate)
        return await asked

    with running_gateway("--workers", "2", url=url, upstream=upstream) as gateway:
        responses = asyncio.run(ask_all(gateway))
        assert {head.partition(b"\r\n")[0] for head, _ in responses} == {b"HTTP/1.1 200 OK"}
        assert len({re.search(rb'"content": ?"([^"]+)"', body)[1] for _, body in responses}) == 1
        assert upstream.questions().count(question) == 1


async def in_flight(client, gateway):
    """How many requests both workers have together, as they say when asked often enough to meet both."""
    said = {(await client.get(f"{gateway.root}/readyz")).json()["in_flight"] for _ in range(8)}
    return sum(sorted(said)[-2:]) if len(said) > 1 else 2 * max(said)


async def one(host, port, request):
    """One request over a connection of its own, without a client's overhead: head and body."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body
