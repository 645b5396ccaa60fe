"""``python -m yamabiko.testing.bedrock --port 8901``: the stand-in as a process, until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from yamabiko.testing.bedrock.stand_in import BedrockStandIn

BASE = "KBSTANDIN1"


def main() -> None:
    """Serve until SIGINT or SIGTERM; the URL is printed first, on a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m yamabiko.testing.bedrock", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency-seconds", type=float, default=0.0, help="how long a model takes to answer")
    parser.add_argument("--documents", type=Path, help=f"a folder of .txt and .md files, put into {BASE} and ingested")
    parser.add_argument("--s3-folder", type=Path, help="where batch jobs read and write")
    arguments = parser.parse_args()
    slow = dict.fromkeys(("Converse", "ConverseStream", "RetrieveAndGenerate", "RetrieveAndGenerateStream"), 0.0)
    latency = dict.fromkeys(slow, arguments.latency_seconds)
    stand_in = BedrockStandIn(port=arguments.port, latency_seconds=latency, s3_folder=arguments.s3_folder)
    if arguments.documents is not None:
        for path in sorted(arguments.documents.rglob("*")):
            if path.suffix in (".txt", ".md"):
                uri = f"s3://documents/{path.relative_to(arguments.documents).as_posix()}"
                stand_in.put_document(BASE, uri, path.read_text("utf-8"))
        stand_in.ingest(BASE)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with stand_in:
        sys.stdout.write(f"{stand_in.url}\n")
        sys.stdout.flush()
        stopped.wait()


if __name__ == "__main__":
    main()
