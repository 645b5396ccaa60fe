"""From which cosine on a stored answer may be served by meaning, where the user has not said.

The defaults lie in data/thresholds.json, with what each costs; benchmarks/thresholds.py measured them.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data" / "thresholds.json"


def default_min_similarity(model: str) -> float:
    """The default threshold, a cosine, for the model that ``Embedder.model_for`` names.

    A model that nobody measured gets 0.98, which serves little but near-verbatim repeats: what 0.95 means differs from
    model to model, and a wrong answer costs more than a lost hit.
    """
    measured = _defaults()
    found = measured["models"].get(model, measured["fallback"])
    return float(found["min_similarity"])


@functools.cache
def _defaults() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return parsed
