"""OpenAI's own client with the cache in front of it: the second time nobody is asked.

Runs without a key, against a small server of its own; with OPENAI_API_KEY, leave out ``base_url``.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import openai

from yamabiko import open_sync_cache
from yamabiko.adapters.wrapping import wrap


class Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print("  (the model is asked)")
        message = {"role": "assistant", "content": f"An echo answers: {asked['messages'][-1]['content']}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        body = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


with served() as url, openai.OpenAI(base_url=url, api_key="none") as plain, open_sync_cache("memory://") as cache:
    client = wrap(plain, cache=cache, tenant="acme")
    for question in ("Why does a mountain echo?", "why does a mountain echo", "山はなぜこだまするのですか？"):
        raw = client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": question}]
        )
        answer = raw.parse()
        print(question, "->", raw.headers["cache-status"], "| cached tokens:", answer.usage.prompt_tokens_details)
