"""A simulated model server in a process of its own: it speaks three vendors' APIs over HTTP/1.1, and misbehaves on order.

    python tests/upstreams/server.py          prints the port that it listens on

A request brings its order as JSON in the header ``x-order``; nothing of it is a part of what two requests must share:

    status, body, headers    answer with these instead
    raw, pad                 send these bytes (Latin-1), and so many letters more, and close the connection
    reset                    the same, but break the connection instead of closing it
    gzip                     compress an answer in one document, asked for or not
    seconds                  in a stream: wait so long before each piece
    gate                     say nothing before the gate of this name is open
    pause_after              in a stream: after so many pieces, wait for the gate instead of at the beginning
    cut_after                in a stream: after so many pieces, close the connection
    drop                     close the connection without a byte, for the first so many requests with this ``gate``
    malformed                in a stream: after so many pieces, send an event that is no JSON
    no_done                  end a stream without its terminal event
    plain                    answer in one document though a stream was asked for
    extra, choice, delta     members added to the answer, to its choice, to the message (in a stream: to a delta)
    answer, times            the text of the answer, so many times over

``GET /control/calls`` lists what was asked, ``GET /control/count?text=...`` counts the bodies that hold a text,
``POST /control/open/NAME`` opens a gate, ``GET /control/waiting/NAME``
answers once somebody waits at it.
"""

import asyncio
import gzip
import json
import socket
import struct
import sys
from collections import Counter, defaultdict
from urllib.parse import parse_qs

from vendors import VENDORS, event, last_question, words_of

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Gate:
    def __init__(self):
        self.open = asyncio.Event()
        self.reached = asyncio.Event()

    async def passed(self):
        self.reached.set()
        await self.open.wait()


class Cut(Exception):
    """The connection is closed here and now."""


class Server:
    def __init__(self):
        self.calls = []
        self.dropped = Counter()
        self.gates = defaultdict(Gate)
        self.made = 0

    async def serve(self, reader, writer):
        try:
            while (asked := await read(reader)) is not None:
                await self.answer(asked, writer)
                await writer.drain()
        except (Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, asked, writer):
        path = asked["path"].partition("?")[0]
        if path.startswith("/control/"):
            document(writer, 200, await self.control(path.split("/")[2:], asked["path"].partition("?")[2]))
            return
        order = json.loads(asked["headers"].get("x-order", "{}"))
        self.calls.append(asked)
        gate = self.gates[order.get("gate", "")]
        if self.dropped[order.get("gate", "")] < order.get("drop", 0):
            self.dropped[order.get("gate", "")] += 1
            raise Cut
        if "gate" in order and "pause_after" not in order and "drop" not in order:
            await gate.passed()
        if "raw" in order:
            await verbatim(writer, order)
        elif "status" in order:
            respond(writer, order["status"], order.get("headers", {}), order.get("body", "").encode())
        elif path.endswith("/chat/completions"):
            await self.chat(json.loads(asked["body"].encode("latin-1")), order, gate, writer)
        elif (vendor := VENDORS.get(path[path.rfind("/") :])) is not None:
            await self.other(vendor, json.loads(asked["body"].encode("latin-1")), order, gate, writer)
        elif path.endswith("/echo"):
            document(writer, 200, asked)
        elif path.endswith("/models"):
            document(writer, 200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            document(writer, 404, {"error": {"message": "there is no such endpoint"}})

    async def control(self, path, query):
        match path:
            case ["count"]:
                return sum(parse_qs(query)["text"][0] in call["body"] for call in self.calls)
            case ["calls"]:
                return self.calls
            case ["open", name]:
                self.gates[name].open.set()
            case ["waiting", name]:
                await self.gates[name].reached.wait()
        return {}

    async def other(self, vendor, body, order, gate, writer):
        """One of the vendors in ``vendors.py``."""
        self.made += 1
        said = vendor(self.made, body, self.text(order, last_question(body)))
        headers = {"x-request-id": f"req_{self.made}", "set-cookie": "session=secret"}
        if not body.get("stream") or order.get("plain"):
            document(writer, 200, said.document(), headers, order)
            return
        first, pieces, last, terminal = ([event(one) for one in part] for part in said.listed())
        await stream(writer, headers, [b"".join(first), pieces, b"".join(last), b"".join(terminal)], order, gate)

    def text(self, order, question):
        return order.get("answer", f"Answer {self.made} to: {question}") * order.get("times", 1)

    async def chat(self, body, order, gate, writer):
        self.made += 1
        text = self.text(order, last_question(body))
        envelope = {"id": f"chatcmpl-{self.made}", "created": 1_700_000_000 + self.made, "model": body["model"]}
        envelope |= {"system_fingerprint": "fp_1", **order.get("extra", {})}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        headers = {"x-request-id": f"req_{self.made}"}
        if not body.get("stream") or order.get("plain"):
            message = {"role": "assistant", "content": text, "refusal": None, **order.get("delta", {})}
            choice = {"index": 0, "message": message, "finish_reason": "stop", **order.get("choice", {})}
            answer = {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage}
            document(writer, 200, answer, {**headers, "set-cookie": "session=secret"}, order)
            return
        envelope["object"] = "chat.completion.chunk"

        def chunk(delta, finish_reason=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            return f"data: {json.dumps({**envelope, 'choices': [choice]})}\n\n".encode()

        first = chunk({"role": "assistant", "content": "", **order.get("delta", {})})
        last = chunk({}, order.get("choice", {}).get("finish_reason", "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            last += f"data: {json.dumps({**envelope, 'choices': [], 'usage': usage})}\n\n".encode()
        pieces = [chunk({"content": word}) for word in words_of(text)]
        await stream(writer, headers, [first, pieces, last, b"data: [DONE]\n\n"], order, gate)


async def stream(writer, headers, parts, order, gate):
    """Sends what begins a stream, its pieces, what follows on them, and its terminal event, as the order says."""
    first, pieces, last, terminal = parts
    begin(writer, {"content-type": "text/event-stream", **headers})
    piece(writer, first)
    for number, data in enumerate(pieces):
        await writer.drain()
        if number == order.get("cut_after"):
            raise Cut
        if number == order.get("pause_after"):
            await gate.passed()
        if number == order.get("malformed"):
            piece(writer, b"data: {this is no JSON\n\n")
        if "seconds" in order:
            await asyncio.sleep(order["seconds"])
        piece(writer, data)
    piece(writer, last)
    if not order.get("no_done"):
        piece(writer, terminal)
    piece(writer, b"")


async def verbatim(writer, order):
    writer.write(order["raw"].encode("latin-1") + b"x" * order.get("pad", 0))
    await writer.drain()
    if order.get("reset"):
        lingering = struct.pack("ii", 1, 0)  # close() then sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    raise Cut


async def read(reader):
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode().split()
    pairs = []
    while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        pairs.append((name.lower(), value.strip()))
    headers = dict(pairs)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return {"method": method, "path": path, "headers": headers, "pairs": pairs, "body": body.decode("latin-1")}


def head(writer, status, headers):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Something')}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


def respond(writer, status, headers, body):
    head(writer, status, {**headers, "content-length": len(body)})
    writer.write(body)


def document(writer, status, value, headers=(), order=()):
    body, headers = json.dumps(value).encode(), {"content-type": "application/json", **dict(headers)}
    if "gzip" in order:
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    respond(writer, status, headers, body)


def begin(writer, headers):
    head(writer, 200, {**headers, "transfer-encoding": "chunked"})


def piece(writer, data):
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def main():
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever started us reads it
    watching = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # who started us has gone
    await watching
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
