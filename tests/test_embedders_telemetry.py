"""The embedding model's runtime reports to nobody."""

import os
import subprocess
import sys

EMBEDS = """
import asyncio
from yamabiko.embedders.local import LocalEmbedder

async def run():
    embedder = LocalEmbedder()
    assert (await embedder.embed(["How do I reset my password?"]))[0] is not None
    await embedder.close()

asyncio.run(run())
"""


def test_embedding_leaves_no_trace_of_telemetry_in_the_home_folder(tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    subprocess.run(
        [sys.executable, "-c", EMBEDS], env=environ | {"HOME": str(tmp_path)}, check=True, timeout=120, cwd=tmp_path
    )
    assert sorted(tmp_path.rglob("*")) == []
