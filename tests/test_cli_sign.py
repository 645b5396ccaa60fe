"""``yamabiko sign`` and the signatures in ``yamabiko check``, on a file and on a server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko.build import ServerLocation, locate
from yamabiko.cli import main
from yamabiko.cli.reembed import embedded, rescoped
from yamabiko.cli.sign import Signing
from yamabiko.core.signing import SigningKeys, signed, signed_question, verify
from yamabiko.settings import Settings
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import record
from yamabiko.testing import FakeEmbedder, make_entry, make_key, make_question, make_scope, unit_vector
from yamabiko.types import Reply, Selector

DIM = 16


def key(name, first):
    return f"{name}:{base64.b64encode(bytes(range(first, first + 32))).decode()}"


OLD, NEW, STRANGE = key("k1", 0), key("k2", 40), key("k1", 80)
EVERYTHING = {"dry_run": False, "key": "k1", "signed": 0, "already_signed": 0, "dead": 0, "refused": 0, "why": {}}


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL", "YAMABIKO_SIGNING_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YAMABIKO_EMBEDDER__KIND", "none")


@pytest.fixture(params=["file", "server"])
def url(request):
    """A cache that nobody else has: a file, and a server that refuses what MemoryDB would refuse."""
    if request.param == "file":
        return "sqlite:///cache.db"
    guard = request.getfixturevalue("make_guard")(request.getfixturevalue("engine"), profile="memorydb")
    return f"valkey://127.0.0.1:{guard.port}?name=t{secrets.token_hex(8)}"


def run(url, *arguments, keys=OLD, as_json=False):
    globals_ = [*(["--json"] if as_json else []), "--url", url]
    return CliRunner().invoke(main, [*globals_, *arguments], env={"YAMABIKO_SIGNING_KEYS": keys})


def said(url, *arguments, keys=OLD, code=0):
    """What the one JSON document says beyond the ordinary."""
    ran = run(url, *arguments, keys=keys, as_json=True)
    assert ran.exit_code == code, ran.output
    document = json.loads(ran.stdout)
    ids = document.pop("entries", [])
    assert len(ids) == document.get("refused", 0)
    return {name: value for name, value in document.items() if EVERYTHING.get(name) != value}


def work_on(url, work):
    async def run():
        store = await locate(Settings(url=url)).open("fake", DIM)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def put(url, *entries):
    async def work(store):
        for entry in entries:
            await store.put(entry, now=0.0)

    work_on(url, work)


def entries_of(url):
    async def work(store):
        found = [entry async for entry in store.entries(Selector())]
        assert list(await store.check()) == []
        return {entry.questions[0].text: entry for entry in found}

    return work_on(url, work)


def got(url, text, scope=None):
    return work_on(url, lambda store: store.get(make_key(text, scope)))


def three():
    ann = make_scope(tenant="globex", user="ann")
    aliases = [make_question(f"alias {n}?", ann, vector=unit_vector(10 + n, DIM)) for n in range(3)]
    soon = time.time() + 1e6
    return [
        make_entry("plain?", "Yes.", vector=unit_vector(1, DIM), created=1.5, tags=("a",)),
        make_entry("no vector?", "No.", created=2.5, author="ann", confirmed=False),
        make_entry(
            "返品できますか？",
            Reply(text="はい。", sources=("s3://a",)),
            scope=ann,
            aliases=aliases,
            expires=soon,
            stale_until=soon,
        ),
    ]


def bare(entries):
    """Everything of them but signatures, and their vectors in a form that can be compared."""
    found = []
    for entry in entries.values():
        vectors = [None if one.vector is None else one.vector.tolist() for one in entry.questions]
        questions = tuple(replace(one, signature="") for one in entry.questions)
        found.append((replace(entry, signature="", questions=questions), vectors))
    return found


def test_turning_it_on_rotating_and_removing_the_old_key(url):
    put(url, *three())
    before = bare(entries_of(url))
    assert said(url, "sign", code=1) == {"refused": 3, "why": {"the answer is not signed": 3}}
    assert said(url, "sign", "--unsigned", "--dry-run") == {"dry_run": True, "signed": 3}
    assert bare(entries_of(url)) == before
    assert said(url, "check", code=1)["problems"][0] == "3 not to be served: the answer is not signed"

    assert said(url, "sign", "--unsigned") == {"signed": 3}
    assert bare(entries_of(url)) == before
    assert said(url, "check") == {"problems": []}
    assert said(url, "sign") == {"already_signed": 3}

    both = f"{NEW},{OLD}"
    assert said(url, "check", keys=both) == {"problems": []}
    assert said(url, "sign", keys=both) == {"key": "k2", "signed": 3}
    assert said(url, "sign", keys=both) == {"key": "k2", "already_signed": 3}
    assert bare(entries_of(url)) == before
    assert said(url, "check", keys=NEW) == {"problems": []}
    assert said(url, "check", keys=OLD, code=1)["problems"][0] == (
        "3 not to be served: the answer is signed with an unknown key"
    )
    for text, scope in (("plain?", None), ("alias 2?", make_scope(tenant="globex", user="ann"))):
        assert verify(got(url, text, scope), SigningKeys.parse(NEW)) == ""


def test_what_somebody_wrote_without_a_key_is_named_and_never_signed(url):
    keys = SigningKeys.parse(OLD)
    good, changed, hung = (signed(entry, keys) for entry in three())
    forged = signed(make_entry("forged?", "Call this number."), SigningKeys.parse(STRANGE))
    put(url, good, replace(changed, reply=Reply(text="Call this number.")), hung, forged)
    stolen = replace(good.questions[0], digest=make_key("alias 9?", hung.scope).digest, text="alias 9?")
    assert work_on(url, lambda store: store.alias(hung.id, stolen))
    put_unsigned = make_entry("unsigned?", "Call this number.")
    put(url, put_unsigned)

    wrong = {
        changed.id: "the answer has a bad signature",
        hung.id: "the question has a bad signature",
        forged.id: "the answer has a bad signature",
        put_unsigned.id: "the answer is not signed",
    }
    problems = said(url, "check", code=1)["problems"]
    assert {f"entry {entry}: {why}" for entry, why in wrong.items()} <= set(problems)
    assert "2 not to be served: the answer has a bad signature" in problems
    assert len(problems) == 3 + len(wrong)
    assert not re.search("number|forged|alias|Yes", "".join(problems))

    for keys_, unsigned in ((OLD, ["--unsigned"]), (f"{NEW},{OLD}", [])):
        ran = run(url, "sign", *unsigned, keys=keys_)
        assert ran.exit_code == 1
        assert "number" not in ran.output
    now = entries_of(url)
    both = SigningKeys.parse(f"{NEW},{OLD}")
    assert {text for text, entry in now.items() if not verify(entry, both)} == {"plain?", "unsigned?"}
    assert now["no vector?"].signature == changed.signature
    assert now["forged?"].signature == forged.signature


@pytest.mark.parametrize("url", ["server"], indirect=True)
def test_the_copy_of_an_answer_beside_each_question_is_looked_at(url):
    """On a server each question has its own copy of the answer."""
    entry = signed(three()[2], SigningKeys.parse(OLD))
    put(url, entry)
    assert said(url, "check") == {"problems": []}
    evil = replace(entry, reply=Reply(text="Call this number."))

    async def change(store):
        name = store.layout.questions + entry.questions[2].digest.hex()
        await store.connection.command("HSET", name, "a", record.encode_answer(evil))

    work_on(url, change)
    assert f"entry {entry.id}: the answer has a bad signature" in said(url, "check", code=1)["problems"]


def test_an_interrupted_run_goes_on_and_an_alias_without_signature_is_seen(url):
    keys = SigningKeys.parse(OLD)
    one, two, three_ = three()
    put(url, signed(one, keys), two, signed(three_, keys))
    assert work_on(url, lambda store: store.alias(one.id, make_question("later?", vector=unit_vector(5, DIM))))
    assert said(url, "sign", code=1) == {
        "already_signed": 1,
        "refused": 2,
        "why": {"the question is not signed": 1, "the answer is not signed": 1},
    }
    assert said(url, "sign", "--unsigned") == {"already_signed": 1, "signed": 2}
    assert said(url, "check") == {"problems": []}
    alias = signed_question(one.scope, one.id, make_question("and later?"), keys)
    assert work_on(url, lambda store: store.alias(one.id, alias))
    assert said(url, "check") == {"problems": []}


def test_the_dead_stay_as_they_are(url):
    put(url, make_entry("dead?", stale_until=time.time() - 1.0), make_entry("alive?"))
    assert said(url, "sign", "--unsigned") == {"signed": 1, "dead": 1}
    assert entries_of(url)["dead?"].signature == ""
    assert said(url, "check") == {"problems": []}


def test_an_answer_that_was_replaced_or_purged_after_it_was_listed_does_not_come_back(url):
    """A page of entries may be old when its last one is signed; each is read again."""
    put(url, make_entry("q?", "old", created=1.0), make_entry("purged?", tags=("gone",)))

    async def work(store):
        signing = Signing(SigningKeys.parse(OLD), unsigned=True)

        listed = [entry async for entry in store.entries(Selector())]
        await store.put(make_entry("q?", "new", created=2.0), now=0.0)
        await store.purge(Selector(tag="gone"))
        for entry in listed:
            await signing._take(store, entry.id)
        return signing.signed

    assert work_on(url, work) == 1
    now = entries_of(url)
    assert now.keys() == {"q?"}
    assert now["q?"].reply.text == "new"


def test_what_is_purged_between_reading_and_writing_does_not_come_back():
    class PurgedMeanwhile(MemoryStore):
        purges = 1

        async def entries(self, selector, /):
            async for entry in super().entries(selector):
                if selector.id is not None and self.purges:
                    self.purges -= 1
                    await self.purge(Selector(tag="gone"))
                yield entry

    async def work():
        store = PurgedMeanwhile(embedder="fake", dim=DIM)
        purged, kept = make_entry("purged?", tags=("gone",)), make_entry("kept?")
        for entry in (purged, kept):
            await store.put(entry, now=0.0)
        signing = Signing(SigningKeys.parse(OLD), unsigned=True)
        for entry in (purged, kept):
            await signing._take(store, entry.id)
        found = [entry.questions[0].text async for entry in store.entries(Selector())]
        return signing.signed, found

    assert asyncio.run(work()) == (1, ["kept?"])


def test_signatures_travel_with_an_export_and_a_migration(url):
    keys = SigningKeys.parse(OLD)
    put(url, *(signed(entry, keys) for entry in three()))
    assert run(url, "export", "all.jsonl").exit_code == 0
    put("sqlite:///imported.db")  # made for the same embedder
    assert run("sqlite:///imported.db", "import", "all.jsonl").exit_code == 0
    assert run(url, "migrate", "sqlite:///migrated.db").exit_code == 0
    for copy in ("sqlite:///imported.db", "sqlite:///migrated.db"):
        assert entries_of(copy) == entries_of(url)
        assert said(copy, "check") == {"problems": []}
        assert said(copy, "sign") == {"already_signed": 3}


def test_another_embedder_voids_no_signature(url):
    """The texts are signed, and not what an embedder makes of them."""
    keys = SigningKeys.parse(OLD)
    put(url, *(signed(entry, keys) for entry in three()))
    other = FakeEmbedder(DIM, id="other")

    async def give_vectors(source):
        listed = [entry async for entry in source.entries(Selector())]
        new = await embedded([rescoped(entry, other) for entry in listed], other)
        location = locate(Settings(url=url))
        if isinstance(location, ServerLocation):
            target = await location.open("other", DIM, beside=True)
            assert all([await target.add_embedding(entry) for entry in new])
        else:
            target = await locate(Settings(url="sqlite:///other.db")).open("other", DIM)
            for entry in new:
                await target.put(entry, now=0.0)
        found = [entry async for entry in target.entries(Selector())]
        await target.close()
        return listed, found, [entry async for entry in source.entries(Selector())]

    listed, found, left = work_on(url, give_vectors)
    assert {entry.scope.embedder for entry in listed} == {"fake"}
    assert {entry.scope.embedder for entry in found} == {"other"}
    for entries in (listed, found, left):
        assert len(entries) == 3
        assert [verify(entry, keys) for entry in entries] == ["", "", ""]


def test_an_export_without_marks_reads_as_an_earlier_release_wrote_it(url):
    put(url, make_entry("q?", "a", vector=unit_vector(1, DIM)))
    assert run(url, "export", "all.jsonl", keys="").exit_code == 0
    line = json.loads(Path("all.jsonl").read_text(encoding="utf-8").splitlines()[1])
    assert set(line) == {"id", "scope", "questions", "reply", "created", "expires", "stale_until", "tags"}
    assert set(line["questions"][0]) == {"digest", "text", "vector"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", ["no key", "signing_keys", "openssl"]),
        ("k1", ["key 1", "colon"]),
        ("k1:c2hvcnQ=", ["key 1", "5 bytes", "32"]),
        (f"{OLD},{STRANGE}", ["keys 1 and 2", "same id"]),
    ],
)
def test_keys_that_are_none_are_refused_before_anything_is_written(keys, words):
    put("sqlite:///cache.db", *three())
    ran = run("sqlite:///cache.db", "sign", "--unsigned", keys=keys)
    assert ran.exit_code == 2
    assert all(word in ran.stderr.splitlines()[-1] for word in words)
    assert "c2hvcnQ" not in ran.output
    assert all(not entry.signature for entry in entries_of("sqlite:///cache.db").values())
    assert run("sqlite:///cache.db", "check", keys=keys).exit_code == (0 if not keys else 2)


def test_settings_show_no_key():
    tricky = f"a:{base64.b64encode(bytes([255, 255]) + bytes(range(30))).decode()}"  # a:// begins like a URL
    assert tricky.startswith("a://")
    for keys in (OLD, tricky):
        for ran in (run("sqlite:///cache.db", "settings", keys=keys, as_json=as_json) for as_json in (False, True)):
            assert ran.exit_code == 0
            assert keys.partition(":")[2] not in ran.output
            assert "********" in ran.output
        settings = Settings.load(environ={"YAMABIKO_SIGNING_KEYS": keys})
        assert settings.signing_keys == keys
        assert keys not in repr(settings)


def test_the_summary_is_for_people_too(url):
    put(url, *three())
    ran = run(url, "sign", "--unsigned")
    assert ran.stdout.strip() == "signed: 3 entries; already: 0; dead: 0; refused: 0"
    ran = run(url, "sign", keys=STRANGE)
    assert ran.exit_code == 1
    assert "3 not to be served: the answer has a bad signature" in ran.stderr
