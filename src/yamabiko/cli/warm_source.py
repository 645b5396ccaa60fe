"""Where ``yamabiko warm`` reads from: a file, standard input, or objects in S3; packed by gzip or not."""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yamabiko.errors import ConfigurationError

if TYPE_CHECKING:
    from yamabiko.settings import Settings

_S3 = re.compile(r"s3://([a-z0-9][-.a-z0-9]{1,61}[a-z0-9])/(.+)", re.DOTALL)
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file's name, as people know it, and its bytes, unpacked."""

    name: str
    data: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """Without a byte order mark, as spreadsheets have it. Raises ``ConfigurationError`` where it is not UTF-8."""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.name} is not UTF-8: save it as UTF-8") from None


async def sources(place: str, settings: Settings) -> AsyncIterator[Source]:
    """What ``place`` names: a path, ``-``, ``s3://BUCKET/KEY``, or all objects below ``s3://BUCKET/PREFIX/``, in order.

    Of several objects one is in memory at a time. Raises ``ConfigurationError`` and ``ServiceError``.
    """
    if place.startswith("s3://"):
        async for source in _objects(place, settings):
            yield source
        return
    yield _file(place)


async def one_source(place: str, settings: Settings) -> Source:
    """The one file that ``place`` names; a JSON object that stands there is itself the text. Raises as ``sources``."""
    if place.lstrip().startswith("{"):
        return Source(name="what is given", data=place.encode())
    found = [source async for source in sources(place, settings)]
    if len(found) != 1:
        raise ConfigurationError(f"{place} names {len(found)} objects: name one")
    return found[0]


def _file(place: str) -> Source:
    try:
        data = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{place} can't be read: {error.strerror}") from error
    return Source(name=place, data=_unpacked(place, data))


async def _objects(place: str, settings: Settings) -> AsyncIterator[Source]:
    from yamabiko.aws.batch import S3Files
    from yamabiko.build import bedrock_access

    named = _S3.fullmatch(place)
    if named is None:
        raise ConfigurationError(f"{place} names no object: it is s3://BUCKET/KEY, or s3://BUCKET/PREFIX/ for several")
    bucket, key = named[1], named[2]
    files = S3Files(bucket, replace(bedrock_access(settings.bedrock), endpoint_url=""))
    try:
        keys = await files.names(key) if key.endswith("/") else [key]
        for one in keys:
            if one.endswith("/"):  # what S3's console makes for a folder
                continue
            data = await files.read(one)
            name = f"s3://{bucket}/{one}"
            if data is None:
                raise ConfigurationError(f"there is no {name}")
            yield Source(name=name, data=_unpacked(name, data))
    finally:
        await files.close()


def _unpacked(name: str, data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise ConfigurationError(f"{name} is packed by gzip, and damaged") from None
