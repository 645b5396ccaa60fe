"""The default store: one SQLite file, no server.

Read in this order: ``schema`` (what lies in the file), ``lanes`` (which thread touches it), ``changes`` (what a write
does), ``rows`` (what a read does), ``indexes`` (search by meaning, derived from the rows), ``check`` (the fsck), and
``store``, which puts them behind the ``Store`` port.
"""

from yamabiko.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
