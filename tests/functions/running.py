"""The gateway as a function, in a process of its own behind a stand-in of Lambda's runtime API."""

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from functions.runtime_api import RuntimeApi

EVENTS = Path(__file__).resolve().parent.parent / "data" / "events"
COMMANDS = {
    "own": ["-m", "yamabiko.gateway.lambda_runtime"],
    "streaming": ["-m", "yamabiko.gateway.lambda_runtime", "--stream"],
}
if find_spec("awslambdaric") is not None:  # AWS's own, which has no wheel but for Linux
    COMMANDS["awslambdaric"] = ["-m", "awslambdaric", "yamabiko.gateway.lambda_handler.handler"]
WHOLE = tuple(name for name in COMMANDS if name != "streaming")


def recorded(name, **changes):
    """An event as AWS documents it, with other members where a test wants them."""
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")) | changes


def question(text, event="http_api", *, stream=False, headers=(), **more):
    """A Chat Completions request in an event."""
    asked = {"model": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": text}], **more}
    if stream:
        asked["stream"] = True
    told = recorded(event, body=json.dumps(asked, ensure_ascii=False), isBase64Encoded=False)
    if "headers" in told:
        told["headers"] = {**told["headers"], **dict(headers)}
    if "multiValueHeaders" in told:
        told["multiValueHeaders"] = {
            **told["multiValueHeaders"],
            **{name: [value] for name, value in dict(headers).items()},
        }
    return told


class Function:
    """A running function: ``invoke`` it; ``lines`` are what it has written so far."""

    def __init__(self, api, process):
        self.api = api
        self.process = process
        self._written = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._written.append(line.rstrip("\n"))

    def invoke(self, event, **more):
        """What comes of an event; where nothing does, what the function wrote says why."""
        try:
            return self.api.invoke(event, **more)
        except queue.Empty:
            raise AssertionError([f"no answer came; ended: {self.process.poll()}", *self.lines]) from None

    @property
    def lines(self):
        return list(self._written)

    def emf(self):
        """The lines for CloudWatch, read."""
        return [json.loads(line) for line in self.lines if line.startswith('{"_aws"')]

    def close(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()


@contextmanager
def running(runtime="own", *, python=sys.executable, **environ):
    """``environ``: what the function's variables are, besides the machine's own without anybody's settings and keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("YAMABIKO_", "AWS_"))}
    with RuntimeApi() as api:
        process = subprocess.Popen(
            [python, "-W", "error", *COMMANDS[runtime]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=kept
            | {
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_FUNCTION_NAME": "gateway",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "NO_PROXY": "127.0.0.1",
                "PYTHONUNBUFFERED": "1",
            }
            | environ,
        )
        function = Function(api, process)
        try:
            yield function
        finally:
            function.close()
