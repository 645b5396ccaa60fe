"""The examples run as they stand, without a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

SHOWN = {
    "rag.py": (
        "Annual leave is 25 days.  [s3://handbook/leave.txt]",
        "年次有給休暇は25日です。  [s3://handbook/kyuka.txt]",
        "Meals are paid up to 40 euros.  [s3://handbook/expenses.txt]",
        "vector search       14       5       9   64.3%",
    ),
    "quickstart.py": ("model calls: 2\n", "served by meaning: True", "another tenant is served: False"),
    "quickstart_ja.py": ("モデルの呼び出し: 2\n", "意味で見つかった: True", "ほかのテナントに返った: False"),
    "async_stream.py": (
        "At| ten,| and| at| noon| on| Sundays.  (from the cache)",
        "model calls: 1, shared: 2, hits: 1",
    ),
    "wrap.py": ("Why does a mountain echo? -> Yamabiko; fwd=miss", "echo -> Yamabiko; hit", "cached_tokens=9"),
    "langgraph_rag.py": ("semantic  小笠原諸島が", "model calls: 5 without the cache, 2 with it"),
}


def test_every_example_is_known_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_what_it_promises(name):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", str(EXAMPLES / name)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    for words in SHOWN[name]:
        assert words in ran.stdout
