"""The frames of ``application/vnd.amazon.eventstream``, which Bedrock's streams are made of.

Source: Smithy 2.0 specification, "Amazon Event Stream Specification"; checked against ``botocore.eventstream``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message: lengths and their CRC32, headers of type 7 (a string), payload, CRC32 of all before it."""
    told = b"".join(
        struct.pack("!B", len(name.encode()))
        + name.encode()
        + struct.pack("!BH", 7, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(told) + len(payload), len(told))
    message = prelude + struct.pack("!I", crc32(prelude)) + told + payload
    return message + struct.pack("!I", crc32(message))


def encode_event(name: str, body: Mapping[str, Any]) -> bytes:
    """An event of a stream, its members as JSON."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, json.dumps(body, ensure_ascii=False).encode())


def encode_exception(name: str, message: str) -> bytes:
    """An error in mid-stream; ``name`` begins in lower case there: ``throttlingException``."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_message(headers, json.dumps({"message": message}, ensure_ascii=False).encode())
