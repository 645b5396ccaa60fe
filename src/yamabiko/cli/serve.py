"""``yamabiko serve``: the gateway. Clients change their base URL, and repeated questions come from the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import UNAVAILABLE, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.gateway.app import Gateway
    from yamabiko.settings import Settings
    from yamabiko.types import Request

_DEMO_URL = "memory://"


@click.command()
@click.option("--host", metavar="HOST", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on (8080); 0: any.")
@click.option(
    "--upstream",
    "upstreams",
    metavar="NAME=URL",
    multiple=True,
    help="Whom to ask: openai=https://api.openai.com/v1, any such server, or openai=bedrock:MODEL. Repeatable.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes; they share a store."
)
@click.option("--demo", is_flag=True, help="Ask a simulated model, so that no key is needed; keep answers in memory.")
@pass_console
def serve(
    console: Console, /, *, host: str | None, port: int | None, upstreams: tuple[str, ...], workers: int, demo: bool
) -> None:
    """Serve the OpenAI-compatible gateway until it is interrupted.

    Clients set their base URL to http://HOST:PORT/v1. What the cache does not answer passes on to the upstream.
    """
    from importlib.util import find_spec

    from yamabiko.errors import ConfigurationError, MissingExtra

    if any(find_spec(name) is None for name in ("uvicorn", "httptools", "httpx", "h2", "aiohttp")):
        raise MissingExtra("gateway", "The gateway")
    arguments: dict[str, object] = {"gateway.host": host, "gateway.port": port}
    if upstreams:
        arguments["gateway.upstreams"] = _named(upstreams)
    given = tuple((name, value) for name, value in arguments.items() if value is not None)
    make = Make(console=console, arguments=given, demo=demo, workers=workers)
    settings = make.settings()
    if workers > 1 and settings.url.startswith("memory:"):
        raise ConfigurationError(
            "several workers can't share a store in memory: use --url sqlite:///FILE, or one worker"
        )

    from yamabiko.gateway.serving import run

    def listening(host: str, port: int) -> None:
        root = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        console.note(f"yamabiko is listening on {root}/v1" + (_DEMO.format(root=root) if demo else ""))

    if not run(make, settings.gateway, workers=workers, listening=listening):
        raise click.exceptions.Exit(UNAVAILABLE)


_DEMO = """
The model is SIMULATED. Ask twice; the second answer comes from the cache:

  curl -i {root}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "simulated", "messages": [{{"role": "user", "content": "What is a mountain echo?"}}]}}'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """Makes the application in each worker; can be pickled, as settings can't."""

    console: Console
    arguments: tuple[tuple[str, object], ...]
    demo: bool
    workers: int

    def settings(self) -> Settings:
        """The settings of a worker. Raises ``ConfigurationError``."""
        settings = self.console.settings(dict(self.arguments))
        if self.demo and self.workers == 1 and "url" not in settings.sources:
            return replace(settings, url=_DEMO_URL)
        return settings

    def __call__(self) -> Gateway:
        """The application."""
        from yamabiko.gateway.building import build, dialects
        from yamabiko.gateway.exchange import local
        from yamabiko.gateway.proxy import Upstream

        settings = self.settings()
        if not self.demo:
            return build(settings, environ=os.environ)
        from yamabiko.gateway.simulated import SimulatedUpstream

        simulated = Upstream.parse("openai", "http://simulated.invalid/v1")
        return build(
            settings,
            upstreams=(simulated,),
            transport=SimulatedUpstream(dialects(), _answers()),
            identify=local,
            environ=os.environ,
        )


def _answers() -> Callable[[Request], str]:
    """What the simulated model says: the demonstration's data where they know the question."""
    from yamabiko.cli.intents import read_intents

    intents = read_intents(("en", "ja"))

    def answer(request: Request) -> str:
        question = request.messages[-1].text
        try:
            return intents.of(question).answer
        except KeyError:
            return f"This is a simulated answer, since no model was asked. The question was: {question}"

    return answer


def _named(pairs: tuple[str, ...]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        name, _, url = pair.partition("=")
        if not name or not url:
            raise click.UsageError("--upstream is NAME=URL, such as openai=https://api.openai.com/v1")
        named[name] = url
    return named
