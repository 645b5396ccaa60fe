"""The defences of benchmarks/poisoning.py, each as the public API turns it on, and who asks.

All caches are those of ``open_cache``; an attacker is a user of the same tenant unless a row says otherwise.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yamabiko import Policy, Request, open_cache
from yamabiko.core.guards import GUARDS
from yamabiko.core.shipped import shipped_threshold
from yamabiko.embedders.local import MINILM, USE_M3, LocalEmbedder
from yamabiko.settings import Settings

BARE = 0.85
"""The cosine that caches which know nothing else are run with."""
OFF = dict.fromkeys(GUARDS, "off")
NOTED = dict.fromkeys(GUARDS, "feature")
KEYS = "bench:" + base64.b64encode(bytes(range(32))).decode()


class Remembered:
    """The embedder on this device, each text once for all arms."""

    def __init__(self) -> None:
        self._real = LocalEmbedder()
        self._known: dict[str, object] = {}
        self.id, self.dim, self.model_for = self._real.id, self._real.dim, self._real.model_for

    async def embed(self, texts: Sequence[str], /):
        """As the port says."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        for text, vector in zip(missing, await self._real.embed(missing) if missing else (), strict=True):
            self._known[text] = vector
        return [self._known[text] for text in texts]

    async def close(self) -> None:
        """Nothing: the next arm goes on with it."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to run a cache. ``named``: requests name their users. ``confirmed``: what is stored waits for another."""

    name: str
    policy: Policy
    named: bool = False
    signed: bool = False
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", Settings(signing_keys=KEYS if self.signed else ""))

    def open(self, embedder: Remembered, url: str = "memory://", *, keys: bool = True, **options):
        """A cache of this arm; without its ``keys`` where somebody else opens the same store."""
        settings = self.settings if keys else Settings()
        return open_cache(url, policy=self.policy, settings=settings, embedder=embedder, **options)

    def request(self, text: str, tenant: str, user: str) -> Request:
        """What somebody asks."""
        return Request(text, model="m1", tenant=tenant, user=user if self.named else "")


def arms(rate: float) -> list[Arm]:
    """Every defence alone on the bare cosine, and together. ``rate``: the promise whose shipped threshold is used."""
    bare = {"max_error_rate": None, "min_similarity": BARE}
    score = {"max_error_rate": rate}
    return [
        Arm("none", Policy(**bare, guards=OFF, users="one")),
        Arm("guards", Policy(**bare, users="one")),
        Arm("score", Policy(**score, guards=NOTED, users="one")),
        Arm("admission", Policy(**bare, guards=OFF, users="personal"), named=True),
        Arm("admission+confirm", Policy(**bare, guards=OFF, users="personal", confirm=True), named=True),
        Arm("signing", Policy(**bare, guards=OFF, users="one"), signed=True),
        Arm("partition", Policy(**bare, guards=OFF, users="always"), named=True),
        Arm("guards+score", Policy(**score, users="one")),
        Arm("guards+admission", Policy(**bare, users="personal"), named=True),
        Arm("all, shared", Policy(**score, users="personal"), named=True, signed=True),
        Arm("all, confirm", Policy(**score, users="personal", confirm=True), named=True, signed=True),
        Arm("all, partition", Policy(**score, users="always"), named=True, signed=True),
    ]


def thresholds(rate: float) -> dict[str, float | None]:
    """From which score on is served, by model; None: nothing is before there are labels."""
    found = {model: shipped_threshold(model, rate, 0.95) for model in (MINILM, USE_M3)}
    return {model: None if shipped is None else shipped.threshold for model, shipped in found.items()}


def saying(text: str) -> Callable:
    """A model that says this, whatever it is asked."""

    async def generate(_: Request) -> str:
        return text

    return generate
