"""A real HTTP server on a free loopback port, which answers as a test wants it to."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    status: int = 200
    body: object = None
    headers: dict = field(default_factory=dict)
    pieces: list | None = None  # sent one by one, instead of the body
    wait_for: threading.Event | None = None  # nothing is sent before it is set


@dataclass
class Seen:
    path: str
    headers: dict
    body: dict


@contextmanager
def serving(answer):
    """Yields the URL and the list of requests seen; ``answer(seen, number)`` gives an Answer."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            reply = answer(requests[-1], len(requests))
            if reply.wait_for is not None:
                reply.wait_for.wait(20)
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.pieces is None:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                for piece in reply.pieces or [data]:
                    self.wfile.write(piece)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as some tests want it to

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
