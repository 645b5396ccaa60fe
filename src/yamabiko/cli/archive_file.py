"""Exports as files: written whole or not at all, checked whole before anything of them is used."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from yamabiko.cli.archive import FORMAT, VERSION, Footer, Header, from_line, to_line
from yamabiko.cli.terminal import progress
from yamabiko.errors import ConfigurationError, InvalidRequest, StoreMismatch
from yamabiko.stores.intake import check_entry
from yamabiko.types import Entry

_FOOTER_START = b'{"end":'


def write_archive(
    file: str, header: Header, entries: Iterable[Entry], *, replace: bool, step: Callable[[int], None]
) -> int:
    """Write an export to a file, or to standard output for ``-``; how many entries it holds.

    Raises ``ConfigurationError`` where the file is there already and not to be replaced, or can't be written.
    """
    if file == "-":
        return _write(sys.stdout.buffer, header, entries, step)
    path, part = Path(file), Path(f"{file}.part")
    if path.exists() and not replace:
        raise ConfigurationError(f"{file} is there already: name another file, or say --force to replace it")
    try:
        with part.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                    written = _write(cast("BinaryIO", packed), header, entries, step)
            else:
                written = _write(raw, header, entries, step)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _write(out: BinaryIO, header: Header, entries: Iterable[Entry], step: Callable[[int], None]) -> int:
    digest = hashlib.sha256()
    written = 0

    def put(line: bytes) -> None:
        digest.update(line)
        out.write(line)

    put(msgspec.json.encode(header) + b"\n")
    for entry in entries:
        put(to_line(entry))
        written += 1
        step(1)
    out.write(msgspec.json.encode(Footer(end=FORMAT, entries=written, sha256=digest.hexdigest())) + b"\n")
    out.flush()
    return written


class Archive:
    """An export to be read; ``refused`` says of lines, by number, why they hold no fit entry.

    Raises ``ConfigurationError`` for a file that is none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.refused: dict[int, str] = {}
        self.header = self._read_header()

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """The fit entries with their line numbers."""
        for number, line in self._lines():
            if number > 1 and number not in self.refused and not line.startswith(_FOOTER_START):
                yield number, from_line(line, self.header.dim)

    def _read_header(self) -> Header:
        _, line = next(self._lines(), (1, b""))
        try:
            header = msgspec.json.decode(line, type=Header)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ConfigurationError("this is no export of yamabiko: its first line does not say so") from None
        if header.version != VERSION:
            raise ConfigurationError(f"this export has format version {header.version}, this release reads {VERSION}")
        return header

    def inspect(self, step: Callable[[int], None]) -> bool:
        """Check every line, and fill ``refused``; whether all lines are there as they were written."""
        digest = hashlib.sha256()
        found = 0
        footer: Footer | None = None
        for number, line in self._lines():
            if line.startswith(_FOOTER_START):
                footer = _footer(line)
                continue
            digest.update(line)
            if number == 1:
                continue
            found += 1
            step(1)
            try:
                check_entry(from_line(line, self.header.dim), self.header.dim)
            except (InvalidRequest, StoreMismatch) as error:
                self.refused[number] = str(error)
        return footer is not None and (footer.entries, footer.sha256) == (found, digest.hexdigest())

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """All lines with their numbers from 1, unpacked; ends early where the file does."""
        self._file.seek(0)
        packed = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        source = gzip.GzipFile(fileobj=self._file) if packed else self._file
        try:
            yield from enumerate(source, start=1)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return


def open_archive(file: BinaryIO, *, partial: bool) -> Archive:
    """An export of which every line has been checked.

    Raises ``ConfigurationError`` for a file that is none or, unless ``partial``, was cut short or changed.
    """
    archive = Archive(file)
    with progress(archive.header.entries, "checking ") as bar:
        whole = archive.inspect(bar.update)
    if not whole and not partial:
        raise ConfigurationError(
            "the export was cut short or changed, nothing is imported: export again, or say --partial to take what"
            " is there"
        )
    return archive


def _footer(line: bytes) -> Footer | None:
    try:
        return msgspec.json.decode(line, type=Footer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


@contextmanager
def open_seekable(file: str) -> Iterator[BinaryIO]:
    """A file, or for ``-`` all of standard input, to be read more than once. Raises ``ConfigurationError``."""
    if file != "-":
        try:
            opened = Path(file).open("rb")  # noqa: SIM115 - closed below; only opening may fail here
        except OSError as error:
            raise ConfigurationError(f"{file} can't be read: {error.strerror}") from error
        with opened:
            yield opened
        return
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        yield cast("BinaryIO", kept)
