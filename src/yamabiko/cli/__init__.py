"""The command line, ``yamabiko``: thin commands over the public API."""

from yamabiko.cli.program import main

__all__ = ["main"]
