"""Records on a server outlive releases: what an earlier one wrote reads the same, and it reads what this one writes."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from yamabiko.stores.memorydb import record
from yamabiko.testing import make_entry, make_question, unit_vector
from yamabiko.types import Reply

WRITTEN_BEFORE_MARKS = bytes.fromhex(
    "019cc420ababababababababababababababababababababababababababababababababc4200101010101010101010101010101010101010101"
    "010101010101010101010101c4200202020202020202020202020202020202020202020202020202020202020202a161a175a16da4656d6265cb"
    "3ff8000000000000cb4000000000000000cb400800000000000091a1748aa474657874a6e5b1b1e5bda6a56d6f64656ca0ad66696e6973685f72"
    "6561736f6ea473746f70a5757361676583ac696e7075745f746f6b656e7300ad6f75747075745f746f6b656e7300b36361636865645f696e7075"
    "745f746f6b656e7300ad6368756e6b5f6c656e6774687390aa746f6f6c5f63616c6c7390a7736f757263657390af6c6174656e63795f7365636f"
    "6e6473cb0000000000000000a8636f73745f757364cb0000000000000000a56578747261a0"
)


def test_what_an_earlier_release_wrote_has_no_author_no_signature_and_is_confirmed():
    entry = record.decode_answer(WRITTEN_BEFORE_MARKS, (make_question("q"),))
    assert entry is not None
    assert (entry.id, entry.created, entry.expires, entry.stale_until) == ("ab" * 32, 1.5, 2.0, 3.0)
    assert (entry.scope.tenant, entry.tags, entry.reply) == ("a", ("t",), Reply(text="山彦"))
    assert (entry.author, entry.confirmed, entry.signature) == ("", True, "")


def test_an_earlier_release_passes_over_what_an_entry_says_of_itself():
    """It knew twelve fields, in this order."""
    marked = make_entry("q", "はい", tags=("t",), author="ann", confirmed=False, signature="v1.k.mac")
    plain = replace(marked, author="", confirmed=True, signature="")
    kinds = {one.name: one.type for one in msgspec.structs.fields(record._Answer)}
    known = msgspec.defstruct("Known", list(kinds.items())[:12], array_like=True, frozen=True)
    read = [msgspec.msgpack.decode(record.encode_answer(entry)[1:], type=known) for entry in (marked, plain)]
    assert read[0] == read[1]
    assert read[0].reply == marked.reply
    assert record.decode_answer(record.encode_answer(marked), marked.questions) == marked


def test_a_question_without_a_signature_has_none():
    question = make_question("q", vector=unit_vector(1, 8))
    text, vector = record.encode_text(question), record.encode_vector(question.vector)
    digest = question.digest.hex().encode()
    for signature, wanted in ((None, ""), (b"v1.k.mac", "v1.k.mac"), (b"\xff", "�")):
        read = record.decode_question(digest, text, signature, vector, 8)
        assert read == replace(question, signature=wanted)
