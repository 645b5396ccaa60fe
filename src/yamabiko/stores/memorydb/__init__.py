"""MemoryDB, Valkey, ElastiCache and Redis: the store that many processes share.

``layout`` says where everything stands on the server, ``lua/`` how it changes, ``connection`` how it is reached.
"""

from yamabiko.stores.memorydb.store import MemoryDBStore

__all__ = ["MemoryDBStore"]
