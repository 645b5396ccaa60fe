"""Lambda's end of its runtime API, over HTTP on loopback: hands invocations out, and hears what came of them.

Source: AWS Lambda developer guide, "Using the Lambda runtime API" and "Building a custom runtime" (read 2026-11-24).
Where the real one is strict, so is this: an answer to an invocation that was not handed out is refused, a streamed one
must be chunked, and a second one is too late.
"""

import base64
import json
import queue
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARN = "arn:aws:lambda:us-east-1:123456789012:function:gateway"


@dataclass
class Answer:
    """What came of one invocation. ``pieces``: of a streamed one, each with the moment it came (``perf_counter``)."""

    kind: str  # response, streamed or error
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    trailers: dict = field(default_factory=dict)
    pieces: list = field(default_factory=list)
    came: float = field(default_factory=time.perf_counter)

    @property
    def document(self):
        return json.loads(self.body)

    def split(self):
        """Prelude and body of a streamed answer."""
        head, _, body = self.body.partition(bytes(8))
        return json.loads(head), body

    @property
    def broke(self):
        told = self.trailers.get("lambda-runtime-function-error-body")
        return None if told is None else json.loads(base64.b64decode(told))


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """The function was ended in the midst of a call."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class RuntimeApi:
    """``invoke(event)`` gives the Answer; the process that answers is somebody else's."""

    def __init__(self):
        self.init_errors = queue.Queue()
        self.asked = threading.Event()  # somebody waits for an invocation: its beginning is over
        self._waiting = queue.Queue()
        self._answers = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def address(self):
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._waiting.put(None)  # whoever waits for an invocation is told that there will be none
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin(self, event, *, seconds=30.0):
        """Hand an event out; gives what ``end`` takes."""
        identity = str(uuid.uuid4())
        self._answers[identity] = queue.Queue()
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        self._waiting.put((identity, body, int((time.time() + seconds) * 1000)))
        return identity

    def end(self, identity, *, patience=60.0):
        answer = self._answers[identity].get(timeout=patience)
        del self._answers[identity]
        return answer

    def invoke(self, event, **more):
        return self.end(self.begin(event, **more))

    def _handler(api):  # noqa: N805 - the handler's own self stands inside
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits for an acknowledgement

            def do_GET(self):
                assert self.path == "/2018-06-01/runtime/invocation/next", self.path
                api.asked.set()
                found = api._waiting.get()
                if found is None:
                    api._waiting.put(None)
                    self.close_connection = True
                    return
                identity, body, deadline = found
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Lambda-Runtime-Aws-Request-Id", identity)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                if self.path == "/2018-06-01/runtime/init/error":
                    api.init_errors.put(Answer("error", self.rfile.read(int(headers["content-length"])), headers))
                    self._accept(202)
                    return
                *_, identity, what = self.path.split("/")
                streamed = headers.get("lambda-runtime-function-response-mode") == "streaming"
                answer = Answer("streamed" if streamed else what, headers=headers)
                if headers.get("transfer-encoding", "").lower() == "chunked":
                    self._chunks(answer)
                elif streamed:
                    self._accept(400)
                    return
                else:
                    answer.body = self.rfile.read(int(headers["content-length"]))
                answer.came = time.perf_counter()
                waiting = api._answers.get(identity)
                if waiting is None or what not in ("response", "error"):
                    self._accept(400)
                    return
                waiting.put(answer)
                self._accept(202)

            def _chunks(self, answer):
                while size := int(self.rfile.readline(), 16):
                    piece = self.rfile.read(size)
                    assert self.rfile.readline() == b"\r\n"
                    answer.pieces.append((time.perf_counter(), piece))
                while line := self.rfile.readline().strip():
                    name, _, value = line.decode("ascii").partition(":")
                    answer.trailers[name.lower()] = value.strip()
                answer.body = b"".join(piece for _, piece in answer.pieces)

            def _accept(self, status):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler
