"""Signatures: nothing that is served can be changed without a key, and no two things are signed alike."""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.signing import (
    SIMILARITY_TOLERANCE,
    SigningKey,
    SigningKeys,
    encoded_entry,
    encoded_question,
    far_off,
    is_newest,
    signed,
    signed_question,
    verify,
)
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.testing import make_entry, make_question, make_scope, unit_vector
from yamabiko.types import Entry, Question, Reply, Scope, Source, Usage

OLD = SigningKey(id="k1", secret=bytes(range(32)))
NEW = SigningKey(id="k2", secret=bytes(range(32, 72)))
STRANGE = SigningKey(id="k1", secret=bytes(range(100, 132)))
KEYS = SigningKeys((OLD,))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
lists = st.lists(texts, max_size=3).map(tuple)
whole = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False).map(lambda value: value + 0.0)
digests = st.binary(min_size=32, max_size=32)
scopes = st.builds(Scope, content=digests, digest=digests, tenant=texts, user=texts, model=texts, embedder=texts)
labels = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), max_size=2).map(tuple)
uris = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
evidence = st.builds(Source, uri=uris, digest=texts, version=texts, base=texts, labels=labels)
sources = st.lists(st.builds(Source, uri=uris) | evidence, max_size=3).map(tuple)
replies = st.builds(
    Reply,
    text=texts,
    model=texts,
    finish_reason=texts,
    usage=st.builds(Usage, input_tokens=whole, output_tokens=whole, cached_input_tokens=whole),
    chunk_lengths=st.lists(whole, max_size=3).map(tuple),
    tool_calls=lists,
    sources=sources,
    latency_seconds=numbers,
    cost_usd=numbers,
    extra=texts,
)
questions = st.builds(Question, digest=digests, text=texts)
entries = st.builds(
    Entry,
    id=digests.map(bytes.hex),
    scope=scopes,
    questions=st.lists(questions, min_size=1, max_size=2).map(tuple),
    reply=replies,
    created=numbers,
    expires=numbers,
    stale_until=numbers,
    tags=lists,
    author=texts,
    confirmed=st.booleans(),
)
CHANGES = {
    (Entry, "id"): digests.map(bytes.hex),
    (Entry, "created"): numbers,
    (Entry, "expires"): numbers,
    (Entry, "stale_until"): numbers,
    (Entry, "tags"): lists,
    (Entry, "author"): texts,
    (Entry, "confirmed"): st.booleans(),
    (Scope, "content"): digests,
    **{(Scope, name): texts for name in ("tenant", "user", "model")},
    **{(Reply, name): texts for name in ("text", "model", "finish_reason", "extra")},
    (Reply, "tool_calls"): lists,
    (Reply, "sources"): sources,
    **{(Reply, name): numbers for name in ("latency_seconds", "cost_usd")},
    (Reply, "chunk_lengths"): st.lists(whole, max_size=3).map(tuple),
    **{(Usage, name): whole for name in ("input_tokens", "output_tokens", "cached_input_tokens")},
    (Question, "digest"): digests,
    (Question, "text"): texts,
}
PARTS = {(Entry, "scope"), (Entry, "questions"), (Entry, "reply"), (Reply, "usage")}
NOT_SIGNED = {
    (Entry, "signature"),
    (Question, "signature"),
    (Question, "vector"),  # made from the text by the embedder, and compared at a look-up
    (Scope, "digest"),  # the content, the text's script and the embedder
    (Scope, "embedder"),
}


def change(entry, place, value):
    """The entry with one field replaced, wherever in it that stands."""
    kind, name = place
    if kind is Entry:
        return replace(entry, **{name: value})
    if kind is Scope:
        return replace(entry, scope=replace(entry.scope, **{name: value}))
    if kind is Reply:
        return replace(entry, reply=replace(entry.reply, **{name: value}))
    if kind is Usage:
        return change(entry, (Reply, "usage"), replace(entry.reply.usage, **{name: value}))
    first, *others = entry.questions
    return replace(entry, questions=(replace(first, **{name: value}), *others))


def sample(**options):
    scope = make_scope(tenant="globex", user="ann")
    reply = Reply(
        text="はい。",
        model="m",
        usage=Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3),
        chunk_lengths=(1, 2),
        tool_calls=("{}",),
        sources=("s3://a",),
        latency_seconds=0.5,
        cost_usd=0.25,
        extra='{"id":"x"}',
    )
    alias = make_question("may I?", scope)
    return make_entry(
        "返品できますか？", reply, scope=scope, aliases=[alias], created=1.5, tags=("a", "b"), author="ann", **options
    )


# --- what is caught ---------------------------------------------------------------------------------------------------


@given(entries)
def test_what_was_signed_is_good_and_so_is_each_of_its_questions_alone(entry):
    good = signed(entry, KEYS)
    assert verify(good, KEYS) == ""
    assert replace(good, signature="", questions=entry.questions) == entry
    for question in good.questions:
        assert verify(replace(good, questions=(question,)), KEYS) == ""


@settings(max_examples=400)
@given(st.data(), entries, st.sampled_from(sorted(CHANGES, key=str)))
def test_any_other_value_in_any_signed_field_is_caught(data, entry, place):
    good = signed(entry, KEYS)
    value = data.draw(CHANGES[place])
    changed = change(good, place, value)
    assert (verify(changed, KEYS) == "") == (changed == good)


def test_each_field_is_signed_or_named_here_as_one_that_is_not():
    every = {(kind, one.name) for kind in (Entry, Scope, Reply, Usage, Question) for one in fields(kind)}
    assert every == CHANGES.keys() | PARTS | NOT_SIGNED


@given(entries, st.data())
def test_any_changed_bit_of_an_answer_or_a_question_is_caught(entry, data):
    entry = change(change(entry, (Reply, "text"), "yes" + entry.reply.text), (Question, "text"), "may I?")
    good = signed(entry, KEYS)
    place = data.draw(st.sampled_from([(Reply, "text"), (Question, "text")]))
    text = (good.reply.text if place[0] is Reply else good.questions[0].text).encode("utf-32-le")
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    flipped = bytearray(text)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        other = flipped.decode("utf-32-le")
    except UnicodeDecodeError:
        return
    assert verify(change(good, place, other), KEYS)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_any_changed_bit_of_a_signature_is_caught(at, bit):
    good = signed(sample(), KEYS)
    for place, signature in (
        ((Entry, "signature"), good.signature),
        ((Question, "signature"), good.questions[0].signature),
    ):
        at %= len(signature)
        other = signature[:at] + chr(ord(signature[at]) ^ (1 << bit)) + signature[at + 1 :]
        assert verify(change(good, place, other), KEYS)


def test_a_signature_has_one_way_to_be_written():
    """Of base64 several texts mean the same bytes: padding, the other alphabet, spare bits of the last digit."""
    good = signed(sample(), KEYS)
    start, mac = good.signature[:-43], good.signature[-43:]
    others = [f"{start}{mac}=", f"{start}{mac}\n", f" {good.signature}", f"{good.signature}.", good.signature.upper()]
    others += [f"{start}{mac[:-1]}{last}" for last in map(chr, range(33, 127)) if last != mac[-1]]
    others += [f"{start}{base64.b64encode(base64.urlsafe_b64decode(mac + '=')).decode()}"]
    for other in others:
        assert verify(replace(good, signature=other), KEYS), other


def test_parts_of_two_good_entries_make_no_third():
    one, two = signed(sample(), KEYS), signed(make_entry("other?", "no", scope=sample().scope), KEYS)
    assert verify(replace(one, signature=two.signature), KEYS) == "the answer has a bad signature"
    assert verify(replace(one, questions=two.questions), KEYS) == "the question has a bad signature"
    assert verify(replace(one, id=two.id), KEYS)
    assert verify(replace(one, reply=two.reply), KEYS)
    swapped = (replace(one.questions[0], signature=one.questions[1].signature), one.questions[1])
    assert verify(replace(one, questions=swapped), KEYS)
    assert verify(replace(one, signature=one.questions[0].signature), KEYS)


def test_an_alias_is_bound_to_its_entry_and_outlives_a_new_answer():
    entry = signed(sample(), KEYS)
    alias = signed_question(entry.scope, entry.id, make_question("take it back?", entry.scope), KEYS)
    assert verify(replace(entry, questions=(alias,)), KEYS) == ""
    renewed = signed(replace(sample(), reply=Reply(text="no"), created=9.0), KEYS)
    assert verify(replace(renewed, questions=(alias,)), KEYS) == ""
    stranger = signed(make_entry("other?", scope=entry.scope), KEYS)
    assert verify(replace(stranger, questions=(alias,)), KEYS) == "the question has a bad signature"


def test_a_vector_and_an_embedder_void_nothing():
    good = signed(sample(), KEYS)
    moved = change(change(good, (Scope, "digest"), bytes(32)), (Scope, "embedder"), "another")
    assert verify(change(moved, (Question, "vector"), unit_vector(1, 8)), KEYS) == ""


# --- what is signed ---------------------------------------------------------------------------------------------------


def decoded_entry(data):
    """What an encoding says, read from its left end."""
    label = data[:23]
    assert label in (b"yamabiko.signed.entry.1", b"yamabiko.signed.entry.2")
    at = len(label)

    def take(layout):
        nonlocal at
        values = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
        return values

    def read(lengths):
        nonlocal at
        blobs = []
        for length in lengths:
            blobs.append(data[at : at + length])
            at += length
        return blobs

    tools, sources, tags, chunks = take(">4Q")
    lengths = take(f">{10 + tools + sources + tags}Q")
    usage, pieces = take(">3q"), take(f">{chunks}q")
    latency, cost, created, expires, stale_until, confirmed = take(">5d?")
    content, *rest = read(lengths)
    tenant, user, model, entry_id, author, *answer = [blob.decode() for blob in rest]
    text, answered_by, finish_reason, extra, *listed = answer
    known = listed[tools : tools + sources]
    if label.endswith(b"2"):
        for number, uri in enumerate(known):
            (count,) = take(">Q")
            digest, version, base, *labels = [blob.decode() for blob in read(take(f">{3 + count}Q"))]
            known[number] = Source(uri, digest, version, base, tuple(labels))
    assert at == len(data)
    return Entry(
        id=entry_id,
        scope=Scope(content=content, digest=b"", tenant=tenant, user=user, model=model),
        questions=(),
        reply=Reply(
            text=text,
            model=answered_by,
            finish_reason=finish_reason,
            usage=Usage(input_tokens=usage[0], output_tokens=usage[1], cached_input_tokens=usage[2]),
            chunk_lengths=pieces,
            tool_calls=tuple(listed[:tools]),
            sources=tuple(known),
            latency_seconds=latency,
            cost_usd=cost,
            extra=extra,
        ),
        created=created,
        expires=expires,
        stale_until=stale_until,
        tags=tuple(listed[tools + sources :]),
        author=author,
        confirmed=confirmed,
    )


@given(entries)
def test_an_encoding_can_be_read_back_so_no_two_entries_have_the_same(entry):
    bare = replace(entry, questions=(), scope=replace(entry.scope, digest=b"", embedder=""))
    assert decoded_entry(encoded_entry(entry)) == bare


def decoded_question(data):
    """Content, id, digest and text of an encoding, read from its left end."""
    label = b"yamabiko.signed.question.1"
    assert data.startswith(label)
    lengths = struct.unpack_from(">4Q", data, len(label))
    assert len(data) == len(label) + 32 + sum(lengths)
    at, blobs = len(label) + 32, []
    for length in lengths:
        blobs.append(data[at : at + length])
        at += length
    content, entry_id, digest, text = blobs
    return content, entry_id.decode(), digest, text.decode()


@given(scopes, texts, questions)
def test_an_encoding_can_be_read_back_so_no_two_questions_have_the_same(scope, entry_id, question):
    encoded = encoded_question(scope, entry_id, question)
    assert decoded_question(encoded) == (scope.content, entry_id, question.digest, question.text)


@given(st.lists(texts, min_size=2, max_size=2), st.lists(texts, min_size=2, max_size=2))
def test_no_text_passes_for_its_neighbour(one, two):
    def encoded(pair):
        question = Question(digest=b"", text=pair[1])
        return encoded_question(make_scope(), pair[0], question)

    assert (encoded(one) == encoded(two)) == (one == two)


def test_an_entry_and_a_question_are_never_signed_alike():
    entry = sample()
    assert not encoded_entry(entry).startswith(b"yamabiko.signed.question")
    assert encoded_question(entry.scope, entry.id, entry.questions[0]).startswith(b"yamabiko.signed.question.1")


SIGNED_BY_VERSION_1 = (
    "v1.k1.0eHCC1aPTOj6QG4i2cQ48iTk9znjKWKOzo-m_0cj5Z4",
    "v1.k1.uJg5caOdH_1uZMZLPYYkR1ICtbiLVoJz1fJ3KVGmXH8",
)


def test_what_an_earlier_release_signed_is_good_for_ever():
    """Another encoding needs another version."""
    good = signed(sample(), KEYS)
    assert (good.signature, good.questions[0].signature) == SIGNED_BY_VERSION_1


# --- keys -------------------------------------------------------------------------------------------------------------


def test_an_old_key_verifies_until_it_is_removed_and_the_new_one_signs():
    before = signed(sample(), KEYS)
    both, after = SigningKeys((NEW, OLD)), SigningKeys((NEW,))
    assert verify(before, both) == ""
    assert not is_newest(before, both)
    again = signed(before, both)
    assert is_newest(again, both)
    assert again.signature.startswith("v1.k2.")
    for keys in (both, after):
        assert verify(again, keys) == ""
    assert verify(before, after) == "the answer is signed with an unknown key"
    assert verify(again, KEYS) == "the answer is signed with an unknown key"
    mixed = replace(again, questions=(again.questions[0], before.questions[1]))
    assert verify(mixed, both) == ""
    assert not is_newest(mixed, both)
    assert verify(mixed, after) == "the question is signed with an unknown key"


def test_a_key_of_the_same_name_is_another_key():
    assert verify(signed(sample(), SigningKeys((STRANGE,))), KEYS) == "the answer has a bad signature"
    renamed = signed(sample(), SigningKeys((replace(OLD, id="k3"),)))
    assert verify(renamed, KEYS) == "the answer is signed with an unknown key"


def test_what_lacks_a_signature_or_has_one_of_another_kind_is_refused():
    good = signed(sample(), KEYS)
    assert verify(sample(), KEYS) == "the answer is not signed"
    first = replace(good.questions[0], signature="")
    assert verify(replace(good, questions=(first,)), KEYS) == "the question is not signed"
    assert verify(replace(good, questions=()), KEYS) == "the entry has no question"
    for other in ("v0.k1.x", "v2" + good.signature[2:], "none", ".", "v1", "v1.", "v1.k1", "v1..", "\ud800", "v1.k1.é"):
        why = verify(replace(good, signature=other), KEYS)
        assert "unknown" in why or "bad" in why or "can't" in why, other


def test_who_turns_signatures_on_lets_the_unsigned_pass_and_nothing_bad():
    good = signed(sample(), KEYS)
    assert verify(sample(), KEYS, unsigned=True) == ""
    half = replace(good, questions=(good.questions[0], replace(good.questions[1], signature="")))
    assert verify(half, KEYS)
    assert verify(half, KEYS, unsigned=True) == ""
    bad = change(half, (Reply, "text"), "no")
    assert verify(bad, KEYS, unsigned=True) == "the answer has a bad signature"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((Reply, "text"), "\ud83c"),
        ((Entry, "author"), "\ud83c"),
        ((Question, "text"), "\ud83c"),
        ((Reply, "chunk_lengths"), (2**64,)),
        ((Usage, "input_tokens"), -(2**70)),
        ((Entry, "created"), math.nan),
        ((Entry, "expires"), -math.inf),
    ],
)
def test_no_content_makes_it_fail(place, value):
    assert verify(change(signed(sample(), KEYS), place, value), KEYS)


@pytest.mark.parametrize(
    ("place", "value"),
    [((Reply, "text"), "secret \ud83c"), ((Question, "text"), "secret \ud83c"), ((Reply, "chunk_lengths"), (2**64,))],
)
def test_what_can_not_be_signed_is_refused_without_a_word_of_it(place, value):
    with pytest.raises(InvalidRequest, match="can't be signed") as caught:
        signed(change(sample(), place, value), KEYS)
    assert "secret" not in str(caught.value)


def test_why_never_shows_a_text():
    good = signed(sample(), KEYS)
    for place in [place for place, values in CHANGES.items() if values is texts]:
        why = verify(change(good, place, "secret"), KEYS)
        assert why
        assert "secret" not in why


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_text_is_no_key(text):
    assert SigningKeys.parse(text) is None


def in_base64(key, encode=base64.b64encode):
    return f"{key.id}:{encode(key.secret).decode()}"


def test_keys_are_read_in_their_order():
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = f" {in_base64(NEW, encode)} ,\n {in_base64(OLD, encode)}"
        assert SigningKeys.parse(text) == SigningKeys((NEW, OLD))
        assert SigningKeys.parse(text.replace("=", "")) == SigningKeys((NEW, OLD))
    assert SigningKeys((NEW, OLD)).newest is NEW


SECRET = in_base64(OLD)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SECRET.partition(":")[2], ["key 1", "id", "colon"]),
        (f"{SECRET},", ["key 2", "id"]),
        (f":{SECRET.partition(':')[2]}", ["key 1", "id"]),
        (f"a b:{SECRET.partition(':')[2]}", ["key 1", "letters"]),
        (f"{'k' * 33}{SECRET[2:]}", ["key 1", "1 to 32"]),
        (f"a.b:{SECRET.partition(':')[2]}", ["key 1", "letters"]),
        (f"{SECRET},k2:", ["key 2", "not base64"]),
        (f"{SECRET},k2:no base64!", ["key 2", "not base64"]),
        ("k1:AAAAA", ["key 1", "not base64"]),
        (f"k1:{base64.b64encode(bytes(range(31))).decode()}", ["key 1", "31 bytes", "fewer than 32", "openssl"]),
        (f"k1:{base64.b64encode(bytes(32)).decode()}", ["key 1", "one byte", "openssl"]),
        (f"{SECRET},{in_base64(STRANGE)}", ["keys 1 and 2", "same id"]),
        (f"{SECRET},{in_base64(replace(OLD, id='k2'))}", ["keys 1 and 2", "same secret"]),
    ],
)
def test_what_is_no_list_of_keys_says_what_to_do_and_shows_no_key(text, words):
    with pytest.raises(ConfigurationError) as caught:
        SigningKeys.parse(text)
    for word in words:
        assert word in str(caught.value)
    assert SECRET[5:20] not in str(caught.value)
    assert "no base64!" not in str(caught.value)


def test_keys_made_by_hand_are_held_to_the_same():
    for keys in ((), (replace(OLD, id="a.b"),), (replace(OLD, secret=b"short"),), (OLD, STRANGE)):
        with pytest.raises(ConfigurationError):
            SigningKeys(keys)


def test_no_repr_shows_a_secret():
    shown = repr(KEYS) + repr(OLD) + repr(signed(sample(), KEYS))
    assert repr(OLD.secret)[2:-1] not in shown
    assert signed(sample(), KEYS).signature not in shown


# --- the vector -------------------------------------------------------------------------------------------------------


def test_a_similarity_may_be_less_than_stated_by_a_rounding_and_no_more():
    assert far_off(0.95, 0.95) == far_off(0.95, 0.96) == far_off(0.9, 1.0) == ""
    assert far_off(0.95, 0.95 - 0.9 * SIMILARITY_TOLERANCE) == ""
    assert far_off(0.95, 0.93) == far_off(1.0, -1.0) == "the vector is not that of its question"
    assert far_off(0.95, math.nan)
    assert far_off(math.nan, 0.95)
