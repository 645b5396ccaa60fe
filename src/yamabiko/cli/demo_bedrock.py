"""``yamabiko demo --bedrock-stand-in``: the whole way from a client to Bedrock and its documents, without AWS.

A client speaks OpenAI's API to the gateway; the gateway asks the cache, whose vectors are Titan's; a miss goes to a
knowledge base and on to a model. All of Bedrock is the stand-in of ``yamabiko.testing.bedrock``, and said to be.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from yamabiko.cli.demo_report import percentiles
from yamabiko.cli.intents import Intents, Language, folded, questions_asked, read_intents
from yamabiko.cli.terminal import Console, Unavailable, progress
from yamabiko.errors import MissingExtra
from yamabiko.testing.bedrock import BedrockStandIn, Prompt

if TYPE_CHECKING:
    import httpx

    from yamabiko.settings import Settings

REQUESTS = 80
"""How many questions are asked unless somebody says otherwise: they take some ten seconds."""
MODEL = "amazon.nova-lite-v1:0"
BASE = "KBSTANDIN1"
MIN_SIMILARITY = 0.9
"""The threshold of the demo's own: Titan's vectors have none that anybody measured, still less the stand-in's."""
LATENCY_SECONDS: Mapping[str, float] = MappingProxyType(
    {"InvokeModel": 0.01, "Retrieve": 0.03, "Converse": 0.1, "ConverseStream": 0.1}
)
"""How long the stand-in takes; assumptions, shorter than a model's so that the demo is."""
STEPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"embedding": ("InvokeModel",), "vector search": ("Retrieve",), "model": ("Converse", "ConverseStream")}
)
"""What a request may come to on Bedrock, with the operations that do it."""
_UNKNOWN: Mapping[str, str] = MappingProxyType(
    {
        "en": "I'm sorry, but I do not know. The documents do not say.",
        "ja": "申し訳ありませんが、文書からは分かりません。",
    }
)
_DOCUMENT = re.compile(r'<document number="(\d+)">\n(.*?)\n</document>', re.DOTALL)
_NUMBER = re.compile(r" \[\d+\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request and what came of it. ``tier`` is exact, semantic or miss; ``calls`` counts Bedrock's operations.

    ``right``: it is the data's answer. ``known``: the documents that were found held one.
    """

    language: Language
    question: str
    tier: str
    seconds: float
    right: bool
    known: bool
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def hit(self) -> bool:
        """Whether the cache answered."""
        return self.tier != "miss"

    @property
    def skipped(self) -> tuple[str, ...]:
        """The steps that it did not take."""
        return tuple(step for step in STEPS if not self.took(step))

    def took(self, step: str) -> int:
        """How many calls a step took."""
        return sum(self.calls[operation] for operation in STEPS[step])


def run(console: Console, *, url: str, requests: int | None, seed: int, languages: Sequence[Language]) -> None:
    """Ask, and tell. Raises ``YamabikoError`` and ``Unavailable``."""
    if any(find_spec(name) is None for name in ("uvicorn", "httptools", "httpx", "h2", "aiohttp")):
        raise MissingExtra("gateway", "The gateway")
    import httpx

    from yamabiko.gateway.building import build
    from yamabiko.gateway.serving import running

    intents = read_intents(languages)
    questions = questions_asked(intents, languages, requests or REQUESTS, seed)
    with (
        BedrockStandIn(answer=partial(answer, intents), latency_seconds=LATENCY_SECONDS) as stand_in,
        _environment_without_aws(),
    ):
        paragraphs = dict.fromkeys(intent.paragraph for intent in intents.all)
        for number, paragraph in enumerate(paragraphs):
            stand_in.put_document(BASE, f"s3://demo/{number}.txt", paragraph)
        stand_in.ingest(BASE)
        settings = _settings(console, url, stand_in.url)
        with (
            running(partial(build, settings), settings.gateway) as root,
            httpx.Client(
                base_url=f"{root}/v1", headers={"authorization": "Bearer demo"}, trust_env=False, timeout=60.0
            ) as client,
            progress(len(questions), "asking") as bar,
        ):
            console.say(_introduction(settings, root, len(questions), len(paragraphs)))
            for stream in (False, True):
                _asked(client, "Is anybody there?", stream=stream, headers={"cache-control": "no-store"})
            asked: list[tuple[str, str, str, float, float, float]] = []
            for at, question in enumerate(questions):
                asked.append(_noted(client, question, stream=bool(at % 2)))
                bar.update(1)
        told = [_answered(intents, stand_in, *one) for one in asked]
    console.say(_report(told))
    console.tell({"requests": figures(told)}, line(told))


def answer(intents: Intents, prompt: Prompt) -> str:
    """What the simulated model says: the data's answer and the number of the document that holds it, if one does."""
    documents, question = (block["text"] for block in prompt.messages[-1]["content"])
    try:
        intent = intents.of(question)
    except KeyError:
        return _UNKNOWN["en"]
    found = [number for number, text in _DOCUMENT.findall(documents) if intent.answer in text]
    return f"{intent.answer} [{found[0]}]" if found else _UNKNOWN[intent.language]


@contextmanager
def _environment_without_aws() -> Iterator[None]:
    """Nobody's own keys are used to sign for the stand-in, and no proxy stands before it."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _settings(console: Console, url: str, endpoint: str) -> Settings:
    """The user's settings, with the demo's threshold unless the policy is the user's; Bedrock is the stand-in."""
    own = console.settings().sources
    arguments: dict[str, object] = {
        "url": url,
        "embedder.kind": "titan",
        "embedder.model": "",
        "bedrock.region": "us-east-1",
        "bedrock.profile": "",
        "bedrock.endpoint_url": endpoint,
        "bedrock.agent_endpoint_url": endpoint,
        "generator.knowledge_base": BASE,
        "generator.max_documents": 10,
        "generator.guardrail": "",
        "gateway.host": "127.0.0.1",
        "gateway.port": 0,
        "gateway.upstreams": {"openai": f"bedrock:{MODEL}"},
        "gateway.tenants_path": "",
    }
    if not any(name.startswith("policy.") for name in own):
        arguments |= {"policy.max_error_rate": None, "policy.min_similarity": MIN_SIMILARITY}
    return console.settings(arguments)


def _introduction(settings: Settings, root: str, questions: int, documents: int) -> str:
    from yamabiko.build import locate
    from yamabiko.cli.shown import wrapped_rows

    policy = settings.policy
    slow = ", ".join(f"{name} {seconds * 1000:g} ms" for name, seconds in LATENCY_SECONDS.items())
    threshold = (
        "Titan's vectors have no measured threshold, so a cache with them starts in shadow. Here it has one of its own,"
        f" without a promise: similarity {policy.min_similarity}, chosen on these very questions for the stand-in alone"
        if policy.max_error_rate is None
        else f"at most {policy.max_error_rate:.0%} wrong: without labels a cache with Titan stays in shadow"
    )
    rows = (
        ("questions", f"{questions}, one after the other, every second one streamed. Credits: cli/demo_data/LICENSE"),
        ("gateway", f"{root}/v1, asked over HTTP as OpenAI's clients do"),
        ("bedrock", f"SIMULATED by a stand-in on this machine, called by AWS's own client. Latencies stated: {slow}"),
        ("embedder", "Titan V2, SIMULATED: vectors of words and letters, not of meaning"),
        ("documents", f"a knowledge base of {documents} paragraphs, SIMULATED; a miss asks Retrieve, then Converse"),
        ("model", f"{MODEL}, SIMULATED: it gives the data's answer where the documents that were found hold it"),
        ("threshold", threshold),
        ("cache", str(locate(settings))),
    )
    return wrapped_rows(rows)


def _asked(client: httpx.Client, question: str, *, stream: bool, headers: dict[str, str]) -> tuple[str, str]:
    """The answer, and how it came about."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": stream}
    response = client.post("/chat/completions", json=body, headers=headers)
    if not response.is_success:
        raise Unavailable(f"the gateway answered with status {response.status_code}: {response.text}")
    return _text(response.text, stream=stream), response.headers.get("x-yamabiko-tier", "miss")


def _text(body: str, *, stream: bool) -> str:
    import msgspec

    if not stream:
        text: str = msgspec.json.decode(body)["choices"][0]["message"]["content"]
        return text
    frames = [part.removeprefix("data: ") for part in body.split("\n\n") if part.startswith("data: {")]
    return "".join(msgspec.json.decode(frame)["choices"][0]["delta"].get("content") or "" for frame in frames)


def _noted(client: httpx.Client, question: str, *, stream: bool) -> tuple[str, str, str, float, float, float]:
    """Question, answer, tier, when it began and ended (seconds UTC epoch), and how long it took."""
    at, started = time.time(), time.perf_counter()
    text, tier = _asked(client, question, stream=stream, headers={})
    seconds = time.perf_counter() - started
    return question, text, tier, at, time.time(), seconds


def _answered(  # noqa: PLR0917 - what ``_noted`` noted
    intents: Intents,
    stand_in: BedrockStandIn,
    question: str,
    text: str,
    tier: str,
    began: float,
    ended: float,
    seconds: float,
) -> Answered:
    """Its calls are those that came in meanwhile: there is never more than one request."""
    intent = intents.of(question)
    return Answered(
        language=intent.language,
        question=question,
        tier=tier,
        seconds=seconds,
        right=folded(_NUMBER.sub("", text)) == folded(intent.answer),
        known=text not in _UNKNOWN.values(),
        calls=Counter(call.operation for call in stand_in.calls if began <= call.at <= ended),
    )


def figures(told: Sequence[Answered]) -> dict[str, float]:
    """The figures of the last line, by name. ``wrong``: hits with another answer than the data's."""
    hits, misses = [one for one in told if one.hit], [one for one in told if not one.hit]
    counts = {
        "requests": len(told),
        "hits": len(hits),
        "exact": sum(one.tier == "exact" for one in told),
        "semantic": sum(one.tier == "semantic" for one in told),
        "wrong": sum(not one.right for one in hits),
        "unanswered": sum(not one.known for one in misses),
        "titan_calls": sum(one.took("embedding") for one in told),
        "retrieve_calls": sum(one.took("vector search") for one in told),
        "converse_calls": sum(one.took("model") for one in told),
        "calls_on_hits": sum(one.took("vector search") + one.took("model") for one in hits),
    }
    times = {
        "p50_hit_ms": percentiles([one.seconds * 1000 for one in hits])[0],
        "p50_miss_ms": percentiles([one.seconds * 1000 for one in misses])[0],
    }
    return counts | times


def line(told: Sequence[Answered]) -> str:
    """The demo's last line."""
    return "demo: " + " ".join(
        f"{name}={value:.1f}" if name.endswith("_ms") else f"{name}={value}" for name, value in figures(told).items()
    )


def _report(told: Sequence[Answered]) -> str:
    hits = [one for one in told if one.hit]
    lines = ["Hits, and what each of them skipped:"]
    lines += [
        f"  {one.tier:<9} {one.language}  {one.seconds * 1000:>6.1f} ms  {', '.join(one.skipped)}"
        f"{'' if one.right else '  WRONG'}\n      {one.question}"
        for one in hits
    ]
    misses = [one for one in told if not one.hit]
    lines += ["", f"  {'':<26}{'hits':>8}{'misses':>8}", f"  {'requests':<26}{len(hits):>8}{len(misses):>8}"]
    for step in STEPS:
        label = f"{step} (SIMULATED)"
        counts = [sum(one.took(step) for one in ones) for ones in (hits, misses)]
        lines.append(f"  {label:<26}{counts[0]:>8}{counts[1]:>8}")
    times = [percentiles([one.seconds * 1000 for one in ones])[0] for ones in (hits, misses)]
    lines.append(f"  {'ms, P50':<26}{times[0]:>8.1f}{times[1]:>8.1f}")
    lines.append("  A miss's time is the stand-in's stated latencies and the real time around them; a hit's is real,")
    lines.append("  with Titan's stated latency where it was asked. Wrong is judged by the data.")
    return "\n".join(lines) + "\n"
