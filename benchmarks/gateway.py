"""The gateway as a process, over loopback: what a hit costs, what a miss adds, and how it stands beside another proxy.

    python benchmarks/gateway.py
    python benchmarks/gateway.py --quick --part exact misses
    python -m venv litellm && litellm/bin/pip install 'litellm[proxy]'
    python benchmarks/gateway.py --litellm litellm/bin/litellm

exact       CPU of the serving process per request, for a stored answer of 2 KB over kept connections: the gateway and a
            bare application on the same server that returns the same bytes, in turns.
semantic    the same for a question that is stored in other words, among ``--near`` vectors; its embedding is known
            beforehand, so that all but the embedding's own CPU is counted.
misses      time to the first byte of a stream, in turns: directly, through the gateway, and from an application that
            embeds the question and then answers as the upstream does. That is direct and one embedding, in a process
            that is warm in the same way.
crowd       500 identical requests at once: how often the upstream is asked.
peer        exact hits a second, 16 connections, the gateway and LiteLLM's proxy with its cache in memory.
memory      resident memory of the serving process over a million requests: hits, and misses within a byte budget.

The upstream is a process of its own that answers at once. CPU is user and system time of the process from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from path import ANSWER, fill, question, random_vectors

TICKS = os.sysconf("SC_CLK_TCK")
WARM = 300
NEAR = 200
OPENINGS = ("How do I", "When should we", "Who may", "Why would one", "Where can people", "Is it possible to")
VERBS = (
    "repair",
    "return",
    "paint",
    "translate",
    "insure",
    "cook",
    "measure",
    "sell",
    "water",
    "publish",
    "tune",
    "lock",
)
THINGS = ("bicycle", "invoice", "piano", "garden", "novel", "bridge", "passport", "kettle", "engine", "violin")
THINGS += ("mortgage", "vaccine", "telescope", "carpet", "recipe", "harvest", "satellite", "contract", "battery")
PLACES = ("in winter", "abroad", "at night", "for a school", "on a boat", "before a move", "in Kyoto", "by hand")
BATCH = 20
MEMORY_BUDGET_BYTES = 32
"""Of the store's budget, for each request of the part about memory: a fifth of what its misses would take."""
PARTS = ("exact", "semantic", "misses", "crowd", "peer", "memory")


# The processes. Each prints its port once it listens.


def completion(text: str) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 500, "total_tokens": 520}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m1", "choices": [choice], "usage": usage}


def chunks() -> list[bytes]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m1"}
    words = [{"role": "assistant", "content": "An"}, {"content": " echo."}]
    choices = [{"index": 0, "delta": word, "finish_reason": None} for word in words]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    return [f"data: {json.dumps({**head, 'choices': [one]})}\n\n".encode() for one in choices] + [b"data: [DONE]\n\n"]


def upstream_app():
    """Answers at once; ``/count`` says how often it has been asked. A question with ``slow`` in it takes a second."""
    body, stream, asked = json.dumps(completion(ANSWER.text)).encode(), chunks(), 0

    async def app(scope, receive, send):
        nonlocal asked
        given, more = b"", True
        while more:
            message = await receive()
            given, more = given + message.get("body", b""), message.get("more_body", False)
        streamed = b'"stream":true' in given
        kind = b"text/event-stream" if streamed else b"application/json"
        counting = scope["path"] == "/count"
        asked += not counting
        if b"slow" in given:
            await asyncio.sleep(1)
        parts = stream if streamed else [str(asked).encode() if counting else body]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def embedding_app():
    """As the upstream, after one embedding."""
    from yamabiko.embedders.local import LocalEmbedder

    embedder, stream = LocalEmbedder(), chunks()

    async def app(_, receive, send):
        given, more = b"", True
        while more:
            message = await receive()
            given, more = given + message.get("body", b""), message.get("more_body", False)
        await embedder.embed([json.loads(given)["messages"][-1]["content"]])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for part in stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def bare_app(head: bytes, body: bytes):
    """Reads a request and answers with the same headers and bytes as the gateway's hit."""
    headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:]]

    async def app(_, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def known_app(db: str, texts: list[str], tenants: str):
    """The gateway on a filled store, with an embedder that has seen the questions that will be asked."""
    from yamabiko import Policy, open_cache
    from yamabiko.embedders.local import LocalEmbedder
    from yamabiko.gateway.app import Gateway
    from yamabiko.gateway.building import dialects
    from yamabiko.gateway.proxy import Proxy, Upstream
    from yamabiko.gateway.routes import Routes
    from yamabiko.gateway.tenants import Tenants, table_of
    from yamabiko.settings import GatewaySettings

    class Known(LocalEmbedder):
        known: dict

        async def embed(self, given):
            if all(text in self.known for text in given):
                return [self.known[text] for text in given]
            return await super().embed(given)

    async def opening():
        embedder = Known()
        embedder.known = {}
        embedder.known = dict(zip(texts, await embedder.embed(texts), strict=True))
        policy = Policy(max_error_rate=None, min_similarity=0.9)
        return await open_cache(f"sqlite:///{db}", embedder=embedder, policy=policy)

    settings = GatewaySettings(tenants_path=tenants)
    routes = Routes([Upstream.parse("openai", "http://nobody.invalid/v1")], dialects())
    identify = Tenants(table_of(settings))
    return Gateway(opening, settings, Proxy(settings), routes, identify=identify)


def child(order: dict) -> None:
    import uvicorn

    from yamabiko.gateway.protocol import Bounded

    kind = order.pop("kind")
    if kind == "bare":
        app = bare_app(order["head"].encode("latin-1"), order["body"].encode("latin-1"))
    elif kind == "embedding":
        app = embedding_app()
    else:
        app = upstream_app() if kind == "upstream" else known_app(**order)
    quiet = {"log_level": "warning", "access_log": False, "server_header": False, "date_header": False, "ws": "none"}
    lifespan = "on" if kind == "known" else "off"
    config = uvicorn.Config(app, port=0, http=Bounded, loop="uvloop", lifespan=lifespan, timeout_keep_alive=75, **quiet)
    bound = config.bind_socket()
    print(f"listening on http://127.0.0.1:{bound.getsockname()[1]}/", flush=True)
    uvicorn.Server(config).run(sockets=[bound])


class Served:
    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.pid, self.port = process.pid, port

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def started(command: list[str], *, pattern: str = r"listening on http://127\.0\.0\.1:(\d+)", **environ: str):
    settings = {name: value for name, value in os.environ.items() if not name.startswith("YAMABIKO_")} | environ
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(pattern, line):
                break
        else:
            raise RuntimeError("".join(said[-20:]))
        yield Served(process, reachable(int(found[1])))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def reachable(port: int) -> int:
    """The port, once somebody listens there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return port


def kind(name: str, **order):
    return started([sys.executable, __file__, "--child", json.dumps({"kind": name, **order})])


def gateway(folder: Path, upstream: Served, *, embedder: str = "none", **environ: str):
    url = f"sqlite:///{folder}/gateway-{embedder}.db"
    command = [sys.executable, "-m", "yamabiko.cli", "--url", url, "serve", "--port", "0"]
    command += ["--upstream", f"openai=http://127.0.0.1:{upstream.port}/v1"]
    return started(command, YAMABIKO_EMBEDDER__KIND=embedder, **environ)


# The client: no library, so that it costs little and the same for everybody.


def request(asked: str, *, key: str = "k", stream: bool = False, path: str = "/v1/chat/completions") -> bytes:
    document = {"model": "m1", "messages": [{"role": "user", "content": asked}]} | ({"stream": True} if stream else {})
    body = json.dumps(document, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    async def open(self, port: int) -> Connection:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        return self

    async def ask(self, data: bytes) -> tuple[bytes, bytes, float]:
        """Head, body, and seconds to the body's first byte."""
        begun = time.perf_counter()
        self.writer.write(data)
        head = (await self.reader.readuntil(b"\r\n\r\n"))[:-4]
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length:
            body = await self.reader.readexactly(int(length[1]))
            return head, body, time.perf_counter() - begun
        body, first = b"", 0.0
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
            first = first or time.perf_counter() - begun
        await self.reader.readline()
        return head, body, first

    def close(self) -> None:
        self.writer.close()


async def load(port: int, data: list[bytes], count: int, connections: int) -> float:
    """Seconds for so many requests over kept connections."""
    made = [await Connection().open(port) for _ in range(connections)]
    left = iter(range(count))

    async def one(connection):
        for number in left:
            await connection.ask(data[number % len(data)])

    begun = time.perf_counter()
    await asyncio.gather(*map(one, made))
    seconds = time.perf_counter() - begun
    for connection in made:
        connection.close()
    return seconds


async def once(port: int, data: bytes) -> tuple[bytes, bytes, float]:
    connection = await Connection().open(port)
    try:
        return await connection.ask(data)
    finally:
        connection.close()


async def settled(port: int, data: bytes) -> tuple[bytes, bytes]:
    """Asks until the answer comes from the store: the second hit is read, as its headers no longer change."""
    for _ in range(50):
        head, body, _ = await once(port, data)
        if b"; hit" in head:
            return head, body
    raise RuntimeError(head.decode("latin-1"))


def cpu_per_request(served: Served, data: list[bytes], count: int) -> float:
    """Microseconds of the serving process's CPU."""
    asyncio.run(load(served.port, data, WARM, 1))
    before = served.cpu_seconds()
    asyncio.run(load(served.port, data, count, 1))
    return (served.cpu_seconds() - before) / count * 1e6


# The parts.


def exact(folder: Path, count: int) -> dict:
    data = request("What is an echo?")
    with kind("upstream") as upstream, gateway(folder, upstream) as ours:
        head, body = asyncio.run(settled(ours.port, data))
        with kind("bare", head=head.decode("latin-1"), body=body.decode("latin-1")) as bare:
            pairs = [(cpu_per_request(ours, [data], count), cpu_per_request(bare, [data], count)) for _ in range(7)]
    hits, plain = ([round(value, 1) for value in column] for column in zip(*pairs, strict=True))
    return {
        "body_bytes": len(body),
        "hit_cpu_us": hits,
        "bare_cpu_us": plain,
        "median_ratio": round(statistics.median(hits) / statistics.median(plain), 2),
        "ratio": round(min(hits) / min(plain), 2),  # other processes of the machine only ever add
        "bar": 3,
    }


def semantic(folder: Path, entries: int, count: int) -> dict:
    import numpy as np

    from yamabiko.embedders.local import LocalEmbedder
    from yamabiko.gateway.keys import lines_for

    real = list(range(entries - NEAR, entries))
    texts = [f"How can I change setting number {number} of my account?" for number in real]
    embedder = LocalEmbedder()
    embedded = np.stack(list(asyncio.run(embedder.embed([question(number) for number in real]))))
    anything = random_vectors(embedder.dim)

    def vectors(at, size):
        block = anything(at, min(size, entries - at))
        for row in range(max(0, entries - NEAR - at), len(block)):
            block[row] = embedded[at + row - (entries - NEAR)]
        return block

    db, key = folder / "near.db", "yamabiko-bench"
    (folder / "tenants.toml").write_text(lines_for(key, tenant="acme"))
    asyncio.run(fill(db, embedder, list(range(entries)), vectors))
    data = [request(text, key=key) for text in texts]
    with kind("known", db=str(db), texts=texts, tenants=str(folder / "tenants.toml")) as ours:
        head, _, _ = asyncio.run(once(ours.port, data[0]))
        if b"x-yamabiko-tier: semantic" not in head:
            raise RuntimeError(head.decode("latin-1"))
        used = cpu_per_request(ours, data, count)
    return {"entries": entries, "added_cpu_ms": round(used / 1e3, 3), "bar_ms": 1.5}


def fresh_question(number: int) -> str:
    """A question of its own: most have a few stored neighbours that are somewhat alike, as in one company's traffic."""
    chance = random.Random(number)
    what, of, where = chance.choice(VERBS), " and ".join(chance.sample(THINGS, 2)), chance.choice(PLACES)
    return f"{chance.choice(OPENINGS)} {what} the {of} {where} number {number}?"


def misses(folder: Path, count: int) -> dict:
    async def measure(ports: list[int]) -> list[list[float]]:
        columns = [[] for _ in ports]
        connections = [await Connection().open(port) for port in ports]
        for number in range(count + 20):
            data = request(fresh_question(number), stream=True)
            for turn in range(len(ports)):  # each is first, second and last equally often
                which = (number + turn) % len(ports)
                _, _, seconds = await connections[which].ask(data)
                if number >= 20:
                    columns[which].append(seconds * 1e3)
                await asyncio.sleep(0.002)  # what goes on behind an answer disturbs nobody else
        return columns

    def differences(many: list[float], few: list[float]) -> dict:
        return machine.percentiles([a - b for a, b in zip(many, few, strict=True)], 3)

    with kind("upstream") as upstream, kind("embedding") as embedding:
        with gateway(folder, upstream) as exact_only:
            plain = asyncio.run(measure([upstream.port, exact_only.port]))
        with gateway(folder, upstream, embedder="local") as ours:
            direct, embedded, through = asyncio.run(measure([upstream.port, embedding.port, ours.port]))
    return {
        "direct_ms": machine.percentiles(direct, 3),
        "direct_with_embedding_ms": machine.percentiles(embedded, 3),
        "through_ms": machine.percentiles(through, 3),
        "added_beyond_embedding_p50_ms": round(statistics.median(through) - statistics.median(embedded), 3),
        "pairwise_added_beyond_embedding_ms": differences(through, embedded),
        "without_embedder_added_p50_ms": round(statistics.median(plain[1]) - statistics.median(plain[0]), 3),
        "bar_ms": 1,
    }


def crowd(folder: Path, clients: int = 500) -> dict:
    async def all_at_once(port: int, upstream: int) -> int:
        data = request("Who is slow?")
        answers = await asyncio.gather(*(once(port, data) for _ in range(clients)))
        if {head.split(b"\r\n")[0] for head, _, _ in answers} != {b"HTTP/1.1 200 OK"}:
            raise RuntimeError("not everybody was answered")
        return int((await once(upstream, request("", path="/count")))[1])

    with kind("upstream") as upstream, gateway(folder, upstream) as ours:
        return {"clients": clients, "calls": asyncio.run(all_at_once(ours.port, upstream.port)), "bar": 1}


def peer(folder: Path, count: int, litellm: str) -> dict:
    key = f"sk-{secrets.token_hex(32)}"
    data = request("What is an echo?", key=key)
    with kind("upstream") as upstream:
        with gateway(folder, upstream) as ours:
            asyncio.run(settled(ours.port, data))
            asyncio.run(load(ours.port, [data], WARM, 16))
            mine = count / asyncio.run(load(ours.port, [data], count, 16))
        result = {"hits_per_second": round(mine)}
        if not litellm:
            print("peer: no --litellm, so LiteLLM was not measured")
            return result
        model = {"model": "openai/m1", "api_base": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "k"}
        settings = {"cache": True, "cache_params": {"type": "local"}}
        config = folder / "litellm.yaml"  # JSON is YAML
        config.write_text(
            json.dumps({"model_list": [{"model_name": "m1", "litellm_params": model}], "litellm_settings": settings})
        )
        command = [litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(upstream.port + 1)]
        with started(command, pattern=r"running on http://127\.0\.0\.1:(\d+)", LITELLM_MASTER_KEY=key) as theirs:
            few = max(200, count // 20)
            asyncio.run(load(theirs.port, [data], 100, 16))
            asked = int(asyncio.run(once(upstream.port, request("", path="/count")))[1])
            rate = few / asyncio.run(load(theirs.port, [data], few, 16))
            again = int(asyncio.run(once(upstream.port, request("", path="/count")))[1])
    if again != asked:
        raise RuntimeError("LiteLLM did not answer from its cache")
    return result | {"litellm_per_second": round(rate), "ratio": round(mine / rate, 1), "bar": 10}


def memory(folder: Path, count: int) -> dict:
    """Resident bytes after each tenth; growth beyond the first tenth.

    One in twenty requests is a miss that is stored, within a byte budget that they fill several times over; the others
    are hits on 50 questions. A pipelining client on a blocking socket, which costs little.
    """
    known = [request(f"What is echo {number}?") for number in range(50)]
    limits = {"YAMABIKO_STORE__MAX_BYTES": str(max(2**20, count * MEMORY_BUDGET_BYTES))}
    seen, steps, begun = [], 20, time.monotonic()
    with kind("upstream") as upstream, gateway(folder, upstream, **limits) as ours:
        with socket.create_connection(("127.0.0.1", ours.port)) as connection, connection.makefile("rb") as answers:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for step in range(steps):
                for batch in range(count // steps // BATCH):
                    asked = [known[(batch * BATCH + at) % len(known)] for at in range(BATCH - 1)]
                    connection.sendall(b"".join([*asked, request(f"New {step} {batch}?")]))
                    for _ in range(BATCH):
                        answered(answers)
                seen.append(ours.resident_bytes())
        cpu = ours.cpu_seconds()
    first = seen[steps // 10 - 1]
    return {
        "requests": count,
        "misses": count // steps // BATCH * steps,
        "store_max_bytes": int(limits["YAMABIKO_STORE__MAX_BYTES"]),
        "seconds": round(time.monotonic() - begun),
        "cpu_seconds": round(cpu),
        "resident_bytes": seen,
        "growth": round(max(seen[steps // 10 :]) / first - 1, 4),
        "bar": 0.05,
    }


def answered(answers) -> None:
    """Read one response to its end."""
    status, length = answers.readline(), None
    if b" 200 " not in status:
        raise RuntimeError(status.decode("latin-1"))
    while (line := answers.readline()) != b"\r\n":
        if line.startswith(b"content-length: "):
            length = int(line[16:])
    if length is not None:
        answers.read(length)
        return
    while size := int(answers.readline(), 16):
        answers.read(size + 2)
    answers.readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests; results are not written")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the part about memory")
    parser.add_argument("--near", type=int, default=100_000, help="vectors of the part about semantic hits")
    parser.add_argument("--litellm", default="", help="the command litellm, of an environment of its own")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(json.loads(given.child))
        return
    share = 10 if given.quick else 1
    results = machine.read("gateway")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = {
            "exact": lambda: exact(folder, 8_000 // share),
            "semantic": lambda: semantic(folder, given.near // share, 4_000 // share),
            "misses": lambda: misses(folder, 300 // share),
            "crowd": lambda: crowd(folder),
            "peer": lambda: peer(folder, 40_000 // share, given.litellm),
            "memory": lambda: memory(folder, given.requests // share),
        }
        for name in given.part:
            results[name] = parts[name]()
            print(f"{name:9}", results[name], flush=True)
    if not given.quick:
        print("written to", machine.write("gateway", results))


if __name__ == "__main__":
    main()
