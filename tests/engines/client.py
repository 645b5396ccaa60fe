"""A client that speaks plain RESP2 to a guard, and what the guard's tests ask again and again."""

import struct

import pytest

from engines.resp import EngineError, Wire

MEMORYDB, OLD, NEW = "memorydb", "valkey-search-1.0", "valkey-search-1.2"
EVERY = (MEMORYDB, OLD, NEW)
VALKEYS = (OLD, NEW)
VECTOR = ("VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", 2, "DISTANCE_METRIC", "COSINE")
SCHEMA = ("s", "TAG", "CASESENSITIVE", "x", "NUMERIC", "v", *VECTOR)
KNN = "(@s:{ab})=>[KNN 3 @v $q AS score]"
TAIL = ("LIMIT", 0, 3, "DIALECT", 2)


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


ASKED = ("PARAMS", 2, "q", floats(1, 0), *TAIL)


class Client(Wire):
    """A connection to a guard, and an index of this test's own with four documents, the last the nearest."""

    def __init__(self, guard, name, **options):
        super().__init__("127.0.0.1", guard.port, **options)
        self.guard = guard
        self.name = name

    def create(self, name=None, schema=SCHEMA):
        name = name or self.name
        return self.ask("FT.CREATE", name, "ON", "HASH", "PREFIX", 1, f"{name}:", "SCHEMA", *schema)

    def fill(self, count=4):
        self.create()
        for n in range(count):
            self.ask("HSET", f"{self.name}:{n}", "s", "ab", "x", n, "v", floats(1, count - 1 - n), "b", "blob")
        return self

    def found(self, *arguments):
        """The rows' numbers of a KNN search, in their order."""
        reply = self.ask("FT.SEARCH", self.name, KNN, *(arguments or ASKED))
        return [int(key.rsplit(b":", 1)[1]) for key in reply[1::2]]

    def search_count(self, k):
        """How many of k neighbours are found; None: the index refuses because it is being backfilled."""
        asked = (f"(@s:{{ab}})=>[KNN {k} @v $q]", "PARAMS", 2, "q", floats(1, 0), "LIMIT", 0, 1, "DIALECT", 2)
        try:
            return self.ask("FT.SEARCH", self.name, *asked)[0]
        except EngineError as error:
            if "backfill" in str(error):
                return None
            raise

    def refusal(self, *arguments):
        with pytest.raises(EngineError) as caught:
            self.ask(*arguments)
        return str(caught.value)
