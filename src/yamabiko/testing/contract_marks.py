"""Promises of a store about what an entry says of itself: for whom it was made, who may have it, and its signatures."""

from __future__ import annotations

from dataclasses import replace

from yamabiko.ports import Store
from yamabiko.testing.builders import make_entry, make_key, make_question, unit_vector
from yamabiko.testing.promise import DIM, Contract, everything, find, promise

NORTH = unit_vector(1, DIM)


class MarksContract(Contract):
    """``author``, ``confirmed`` and ``signature`` of entries, and ``signature`` of questions."""

    @promise()
    async def test_marks_come_back_from_every_read(self, store: Store) -> None:
        """Author, confirmed and both signatures: from ``get``, ``search`` and ``entries``, of every question."""
        alias = make_question("alias", vector=-NORTH, signature="of the alias")
        entry = make_entry(
            "q", vector=NORTH, aliases=(alias,), author="somebody", confirmed=False, signature="of the entry"
        )
        asked = replace(entry.questions[0], signature="of the question")
        await store.put(replace(entry, questions=(asked, alias)), now=0.0)
        for question, vector in ((asked, NORTH), (alias, -NORTH)):
            wanted = replace(entry, questions=(question,))
            assert await store.get(make_key(question.text)) == wanted
            (candidate,) = await find(store, entry.scope, vector, min_similarity=0.9)
            assert candidate.entry == wanted
        assert await everything(store) == [replace(entry, questions=(asked, alias))]

    @promise()
    async def test_what_nobody_marked_has_the_defaults(self, store: Store) -> None:
        """No author, confirmed, no signature; each mark also stands alone."""
        entries = [
            make_entry("plain"),
            make_entry("author", author="somebody"),
            make_entry("not confirmed", confirmed=False),
            make_entry("signed", signature="of the entry"),
        ]
        for entry in entries:
            await store.put(entry, now=0.0)
            assert await store.get(make_key(entry.questions[0].text)) == entry
        plain = await store.get(make_key("plain"))
        assert plain is not None
        assert (plain.author, plain.confirmed, plain.signature) == ("", True, "")
        assert plain.questions[0].signature == ""

    @promise()
    async def test_put_again_replaces_the_marks(self, store: Store) -> None:
        """The entry's own; a question that is not put again keeps its signature, one that is has the new one."""
        alias = make_question("alias", signature="of the alias")
        asked = make_question("q", vector=NORTH, signature="old")
        first = make_entry("q", "old", author="a", confirmed=False, signature="one", aliases=(alias,))
        await store.put(replace(first, questions=(asked, alias)), now=0.0)
        for author, confirmed, signature, of_question in (("b", True, "two", "new"), ("", True, "", "")):
            again = make_entry("q", "new", author=author, confirmed=confirmed, signature=signature)
            asked = replace(asked, signature=of_question)
            await store.put(replace(again, questions=(asked,)), now=1.0)
            assert await store.get(make_key("q")) == replace(again, questions=(asked,))
            assert await store.get(make_key("alias")) == replace(again, questions=(alias,))

    @promise()
    async def test_an_alias_brings_its_own_signature(self, store: Store) -> None:
        """Said again it replaces the old one; moved to another entry it leaves nothing of it."""
        entry, other = make_entry("q", signature="of the entry"), make_entry("r")
        await store.put(entry, now=0.0)
        await store.put(other, now=0.0)
        for vector in (None, NORTH, NORTH):
            for signature in ("one", "two", ""):
                alias = make_question("alias", vector=vector, signature=signature)
                assert await store.alias(entry.id, alias) is True
                assert await store.get(make_key("alias")) == replace(entry, questions=(alias,))
        assert await store.alias(entry.id, make_question("alias", signature="one")) is True
        assert await store.alias(entry.id, make_question("q", signature="own")) is True
        own = await store.get(make_key("q"))
        assert own is not None
        assert own.questions[0].signature == "own"
        assert await store.alias(other.id, make_question("alias")) is True
        moved = await store.get(make_key("alias"))
        assert moved == replace(other, questions=(make_question("alias"),))
