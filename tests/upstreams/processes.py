"""Starts the simulated model server and the gateway as processes, and talks to them over loopback."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

SERVER = Path(__file__).with_name("server.py")


class Upstream:
    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def calls(self):
        return httpx.get(f"{self.root}/control/calls").json()

    def questions(self):
        """The last turns of all that was asked and could be read."""
        bodies = [
            json.loads(call["body"].encode("latin-1"))
            for call in self.calls()
            if call["path"].endswith("/chat/completions")
        ]
        return [body["messages"][-1]["content"] for body in bodies if isinstance(body["messages"], list)]

    def open(self, gate):
        httpx.post(f"{self.root}/control/open/{gate}")

    def wait_at(self, gate):
        """Returns once a request waits at the gate."""
        httpx.get(f"{self.root}/control/waiting/{gate}", timeout=20)


@contextmanager
def running_upstream():
    process = subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Upstream(int(process.stdout.readline()))
    finally:
        process.communicate(timeout=20)


class Gateway:
    def __init__(self, process, url, lines):
        self.process = process
        self.url = url
        self.root = url.removesuffix("/v1")
        self.lines = lines

    def stop(self, signal_=signal.SIGTERM):
        """Ends it as an operator would; its exit code."""
        self.process.send_signal(signal_)
        return self.wait()

    def wait(self):
        self.lines += self.process.communicate(timeout=30)[1].splitlines()
        return self.process.returncode

    def ask(self, question, *, stream=False, order=None, headers=None, **body):
        """One request over a connection of its own."""
        return httpx.post(
            f"{self.url}/chat/completions",
            json=chat(question, stream=stream, **body),
            headers={"authorization": "Bearer k", **ordered(order), **(headers or {})},
            timeout=30,
        )


def chat(question, *, stream=False, **body):
    return {"model": "m", "messages": [{"role": "user", "content": question}], "stream": stream, **body}


def ordered(order):
    return {} if order is None else {"x-order": json.dumps(order)}


@contextmanager
def running_gateway(*arguments, url, upstream=None, stdout=None, **settings):
    """``yamabiko serve``; settings by their name with ``__`` for the dot: ``gateway__retries=0``."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("YAMABIKO_")}
    settings.setdefault("embedder__kind", "none")
    environ |= {f"YAMABIKO_{name.upper()}": str(value) for name, value in settings.items()}
    environ["PYTHONWARNINGS"] = "error"
    command = [sys.executable, "-m", "yamabiko.cli", "--url", url, "serve", "--port", "0", *arguments]
    if upstream is not None:
        command += ["--upstream", f"openai={upstream.url}"]
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ)
    lines = []
    try:
        for line in process.stderr:
            lines.append(line.rstrip())
            listening = re.search(r"listening on (\S+)", line)
            if listening:
                break
        else:
            process.wait()
            raise RuntimeError("\n".join(lines))
        yield Gateway(process, listening[1], lines)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)
        process.stderr.close()
