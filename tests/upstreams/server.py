"""A simulated model server in a process of its own: it speaks Chat Completions over HTTP/1.1, and misbehaves on order.

    python tests/upstreams/server.py          prints the port that it listens on

A request brings its order as JSON in the header ``x-order``; nothing of it is a part of what two requests must share:

    status, body, headers    answer with these instead
    gate                     say nothing before the gate of this name is open
    pause_after              in a stream: after so many pieces, wait for the gate instead of at the beginning
    cut_after                in a stream: after so many pieces, close the connection
    drop                     close the connection without a byte, for the first so many requests with this ``gate``
    malformed                in a stream: after so many pieces, send an event that is no JSON
    no_done                  end a stream without its terminal event
    plain                    answer in one document though a stream was asked for
    extra, choice, delta     members added to the answer, to its choice, to the message (in a stream: to a delta)
    answer                   the text of the answer

``GET /control/calls`` lists what was asked, ``POST /control/open/NAME`` opens a gate, ``GET /control/waiting/NAME``
answers once somebody waits at it.
"""

import asyncio
import json
import re
import sys
from collections import Counter, defaultdict

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
            document(writer, 200, await self.control(path.split("/")[2:]))
            return
        order = json.loads(asked["headers"].get("x-order", "{}"))
        self.calls.append(asked)
        gate = self.gates[order.get("gate", "")]
        if self.dropped[order.get("gate", "")] < order.get("drop", 0):
            self.dropped[order.get("gate", "")] += 1
            raise Cut
        if "gate" in order and "pause_after" not in order and "drop" not in order:
            await gate.passed()
        if "status" in order:
            respond(writer, order["status"], order.get("headers", {}), order.get("body", "").encode())
        elif path.endswith("/chat/completions"):
            await self.chat(json.loads(asked["body"]), order, gate, writer)
        elif path.endswith("/echo"):
            document(writer, 200, asked)
        elif path.endswith("/models"):
            document(writer, 200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            document(writer, 404, {"error": {"message": "there is no such endpoint"}})

    async def control(self, path):
        match path:
            case ["calls"]:
                return self.calls
            case ["open", name]:
                self.gates[name].open.set()
            case ["waiting", name]:
                await self.gates[name].reached.wait()
        return {}

    async def chat(self, body, order, gate, writer):
        self.made += 1
        content = body["messages"][-1]["content"]
        question = content if isinstance(content, str) else "blocks"
        text = order.get("answer", f"Answer {self.made} to: {question}")
        envelope = {"id": f"chatcmpl-{self.made}", "created": 1_700_000_000 + self.made, "model": body["model"]}
        envelope |= {"system_fingerprint": "fp_1", **order.get("extra", {})}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        if not body.get("stream") or order.get("plain"):
            message = {"role": "assistant", "content": text, "refusal": None, **order.get("delta", {})}
            choice = {"index": 0, "message": message, "finish_reason": "stop", **order.get("choice", {})}
            answer = {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage}
            document(writer, 200, answer, {"x-request-id": f"req_{self.made}", "set-cookie": "session=secret"})
            return
        envelope["object"] = "chat.completion.chunk"
        begin(writer, {"content-type": "text/event-stream", "x-request-id": f"req_{self.made}"})

        def event(delta, finish_reason=None, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            piece(writer, f"data: {json.dumps({**envelope, 'choices': [choice], **more})}\n\n".encode())

        event({"role": "assistant", "content": "", **order.get("delta", {})})
        for number, word in enumerate(re.findall(r"\s*\S+", text)):
            await writer.drain()
            if number == order.get("cut_after"):
                raise Cut
            if number == order.get("pause_after"):
                await gate.passed()
            if number == order.get("malformed"):
                piece(writer, b"data: {this is no JSON\n\n")
            event({"content": word})
        event({}, order.get("choice", {}).get("finish_reason", "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            piece(writer, f"data: {json.dumps({**envelope, 'choices': [], 'usage': usage})}\n\n".encode())
        if not order.get("no_done"):
            piece(writer, b"data: [DONE]\n\n")
        piece(writer, b"")


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


def document(writer, status, value, headers=()):
    respond(writer, status, {"content-type": "application/json", **dict(headers)}, json.dumps(value).encode())


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
