"""Which nodes of a cluster serve a cache: the reply of CLUSTER SLOTS, and where MOVED points. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Node(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The nodes that hold a slot: one for writing and exact reading, and its copies, in an order of their own."""

    primary: Node
    replicas: tuple[Node, ...] = ()


def shard_of(slots_reply: object, slot: int, asked: Node, *, names: bool) -> Shard | None:
    """The shard that holds ``slot``; None where the reply names none.

    A node without a host is on the host that was asked. ``names``: a node's host name, where it has one, stands before
    its address, since certificates are made out to names.
    """
    for row in slots_reply if isinstance(slots_reply, list) else ():
        match row:
            case [int() as first, int() as last, primary, *replicas] if first <= slot <= last:
                head = _node(primary, asked, names)
                copies = (_node(replica, asked, names) for replica in replicas)
                return Shard(head, tuple(sorted(copy for copy in copies if copy is not None))) if head else None
    return None


def nodes_of(slots_reply: object, asked: Node, *, names: bool) -> dict[Node, bytes]:
    """Every node that the reply names, with its id; an id stays when a node's role changes. Empty: it has none."""
    found: dict[Node, bytes] = {}
    for row in slots_reply if isinstance(slots_reply, list) else ():
        for part in row[2:] if isinstance(row, list) else ():
            node = _node(part, asked, names)
            if node is not None:
                found[node] = part[2] if len(part) > 2 and isinstance(part[2], bytes) else b""
    return found


def _node(part: object, asked: Node, names: bool) -> Node | None:
    match part:
        case [host, int() as port, *rest] if 0 < port < 65536:
            further = rest[1] if len(rest) > 1 and isinstance(rest[1], list) else []
            pairs = zip(further[::2], further[1::2], strict=False)
            name = next((value for key, value in pairs if key == b"hostname"), None) if names else None
            return Node(_host(name) or _host(host) or asked.host, port)
    return None


def _host(part: object) -> str:
    text = part.decode("ascii", "replace") if isinstance(part, bytes) else ""
    return "" if text == "?" else text


def moved_to(error_text: str, asked: Node) -> Node | None:
    """The node that ``MOVED 3999 host:port`` names; without a host it is on the one that was asked."""
    words = error_text.split()
    if len(words) < 3 or words[0] != "MOVED":
        return None
    host, _, port = words[2].rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return None
    host = host.strip("[]")
    return Node(asked.host if host in ("", "?") else host, int(port))


def moved_slot(error_text: str) -> int | None:
    """The slot that ``MOVED 3999 host:port`` is about."""
    match error_text.split():
        case ["MOVED", slot, *_] if slot.isdecimal():
            return int(slot)
    return None
