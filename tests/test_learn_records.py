"""Labels and standings as they are stored: whatever comes back, nothing is counted twice and nothing served by noise."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.calibrate import Terms, Versions
from yamabiko.core.drift import EProcess
from yamabiko.core.states import State
from yamabiko.learn import ledger as ledgers
from yamabiko.learn.advance import Rules, fresh, step
from yamabiko.learn.ledger import GRACE_SECONDS, Ledger
from yamabiko.learn.namespaces import namespace_of
from yamabiko.learn.records import (
    MOST_STANDINGS,
    Counted,
    Drawing,
    Drawn,
    Imported,
    Judged,
    NamespaceState,
    StoredStanding,
    Transition,
    census_drawing,
    decode_record,
    decode_standing,
    digest_of,
    encode_record,
    encode_standing,
    imported_records,
    is_newer,
)
from yamabiko.ports import MAX_STATE_BYTES, Logged
from yamabiko.types import Policy

VERSIONS = Versions(score="1", guards="1")
RULES = Rules(
    terms=Terms(max_error_rate=0.1, confidence=0.9, versions=VERSIONS),
    promise="0.1/0.9/hit",
    versions=digest_of(VERSIONS),
    learning=True,
    shipped=None,
)
NS = namespace_of("m", "tenant", "faq")
SHADOW = Drawing(namespace=NS, versions=RULES.versions, floor=0.5, threshold=0.5, below=1.0, above=1.0)
NOW = 1_700_000_000.0


def drawn(number, score=0.9, drawing=SHADOW, at=NOW):
    return Drawn(
        trial=f"t{number}",
        drawing=drawing,
        score=score,
        similarity=0.8,
        entry=f"entry {number % 3}",
        question="ab" * 32,
        served=False,
        at=at,
    )


def judged(number, correct=True, how="same"):
    return Judged(trial=f"t{number}", entry=f"entry {number % 3}", correct=correct, how=how, at=NOW)


def logged(records, after=0):
    return [
        Logged(position=after + place, id=str(place), data=encode_record(record))
        for place, record in enumerate(records, 1)
    ]


def ledger_of(records):
    ledger = Ledger()
    ledger.take(logged(records))
    return ledger


def resolved(ledger, namespace=NS, now=NOW, counted=False):
    groups = ledger.resolved(namespace, RULES.versions, after=0, now=now, counted=counted)
    return [draw.trial for _, draws in groups for draw in draws]


def stepped(ledger, known=None, now=NOW):
    return step(known or fresh(NS, RULES), [], ledger, RULES, now=now)


# Records.


@pytest.mark.parametrize(
    "record",
    [
        drawn(1),
        judged(1),
        Counted(drawing=SHADOW, requests=10, audited=3),
        *imported_records(census_drawing(NS, "v", 0.5), [(0.7, True), (0.9, False)], requests=9, at=NOW),
    ],
)
def test_a_record_comes_back_and_one_of_a_later_release_is_understood(record):
    assert decode_record(encode_record(record)) == record
    later = msgspec.msgpack.decode(encode_record(record)) | {"added": {"later": [1]}}
    assert decode_record(msgspec.msgpack.encode(later)) == record


@pytest.mark.parametrize(
    "data", [b"", b"\xff", encode_record(drawn(1))[:-1], msgspec.msgpack.encode({"kind": "later", "x": 1})]
)
def test_what_is_damaged_or_of_a_later_kind_is_passed_over(data):
    ledger = Ledger()
    items = logged([drawn(1), judged(1), drawn(2), judged(2)])
    ledger.take([*items[:2], Logged(position=2.5, id="x", data=data), *items[2:]])
    assert resolved(ledger) == ["t1", "t2"]
    assert ledger.unread == 1


@given(st.binary(max_size=60))
def test_no_bytes_make_a_log_unreadable(data):
    Ledger().take([Logged(position=1, id="x", data=data)])


def test_many_imported_labels_fit_into_a_store_and_the_same_ones_count_once():
    labels = [(0.5 + i / 30_000, i % 7 > 0) for i in range(12_000)]
    records = list(imported_records(census_drawing(NS, "v", 0.5), labels, requests=40_001, at=NOW))
    assert all(len(encode_record(record)) < MAX_STATE_BYTES for record in records)
    assert sum(len(record.scores) for record in records) == 12_000
    assert sum(record.requests for record in records) == 40_001
    again = imported_records(census_drawing(NS, "v", 0.5), labels, requests=40_001, at=NOW + 9)
    assert [record.batch for record in again] == [record.batch for record in records]
    assert len({record.batch for record in records}) == len(records)


def test_a_design_is_named_by_what_it_draws():
    other = msgspec.structs.replace(SHADOW, below=0.2)
    assert SHADOW.id != other.id
    assert SHADOW.id == msgspec.structs.replace(other, below=1.0).id
    assert census_drawing(NS, RULES.versions, 0.5).id != SHADOW.id


# The ledger.


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_the_sample_is_the_same_in_whichever_order_labels_come_and_however_often(order, repeated, data):
    """Draws stand in the log before their labels; labels in any order, and told again, even with another verdict."""
    draws = [drawn(number, 0.6 + number / 20) for number in range(8)]
    verdicts = [judged(number, number != 3) for number in order]
    verdicts += [judged(number, data.draw(st.booleans())) for number in repeated]
    plain = ledger_of([*draws, *(judged(number, number != 3) for number in range(8))])
    mixed = ledger_of([*draws, *verdicts])
    samples = [one.sample(NS, RULES.versions, after=0, up_to=99) for one in (plain, mixed)]
    assert samples[0].digest == samples[1].digest
    assert resolved(plain) == resolved(mixed)


@given(st.lists(st.booleans(), min_size=120, max_size=160), st.sets(st.integers(1, 300), max_size=6))
@settings(max_examples=25, deadline=None)
def test_whoever_advances_and_when_comes_to_the_same_standing(outcomes, stops):
    records = [record for number, right in enumerate(outcomes) for record in (drawn(number), judged(number, right))]
    at_once = stepped(ledger_of(records))
    items, ledger, known, begin = logged(records), Ledger(), None, 0
    for stop in [*sorted(stops), len(items)]:
        ledger.take(items[begin:stop])
        known, begin = stepped(ledger, known), stop
    told = ("state", "threshold", "labels", "attempt", "certificate", "shortfall", "process", "cursor", "start")
    assert {name: getattr(known, name) for name in told} == {name: getattr(at_once, name) for name in told}


def test_a_sample_ends_before_the_first_draw_whose_label_may_still_come():
    ledger = ledger_of([drawn(0), drawn(1), drawn(2), judged(0), judged(2)])
    assert resolved(ledger) == ["t0"]
    assert resolved(ledger, now=NOW + GRACE_SECONDS + 1) == ["t0", "t1", "t2"]
    sample = ledger.sample(NS, RULES.versions, after=0, up_to=99)
    assert (len(sample), sample.missing) == (2, (1,))
    ledger.take(logged([judged(1, correct=False)], after=9))
    assert resolved(ledger) == ["t0", "t1", "t2"]
    assert ledger.sample(NS, RULES.versions, after=0, up_to=99).missing == (0,)


def test_a_trial_that_was_given_up_is_missing_at_once_and_teaches_nothing_of_its_entry():
    ledger = ledger_of([drawn(0), judged(0, correct=False, how="given_up"), drawn(1), judged(1)])
    assert resolved(ledger) == ["t0", "t1"]
    assert ledger.sample(NS, RULES.versions, after=0, up_to=99).missing == (1,)
    assert set(ledger.entries) == {"entry 1"}


def test_labels_count_for_every_ancestor_and_for_nobody_else():
    other = msgspec.structs.replace(SHADOW, namespace=namespace_of("m", "tenant", "other"))
    ledger = ledger_of([drawn(0), judged(0), drawn(1, drawing=other), judged(1)])
    assert resolved(ledger) == ["t0"]
    assert resolved(ledger, namespace_of("m", "tenant", "")) == ["t0", "t1"]
    assert resolved(ledger, "m") == ["t0", "t1"]
    assert len(ledger.sample("m", RULES.versions, after=0, up_to=99).designs) == 2
    assert resolved(ledger, namespace_of("m", "else", "")) == []


def test_only_what_its_design_drew_comes_in():
    tenth = msgspec.structs.replace(SHADOW, threshold=0.8, below=0.1, above=0.1)
    drawn_by_it = [number for number in range(200) if tenth.design().draws(f"t{number}", 0.9)]
    records = [drawn(number, drawing=tenth) for number in range(200)]
    ledger = ledger_of([*records, *(judged(number) for number in range(200))])
    assert resolved(ledger) == [f"t{number}" for number in drawn_by_it]
    assert 5 < len(drawn_by_it) < 40
    ledger = ledger_of([drawn(0, 0.4), drawn(1, drawing=replace_broken()), judged(0), judged(1)])
    assert resolved(ledger) == []


def replace_broken():
    return msgspec.structs.replace(SHADOW, above=7.0)


def test_labels_of_another_score_are_another_matter():
    other = msgspec.structs.replace(SHADOW, versions=digest_of(Versions(score="2")))
    ledger = ledger_of([drawn(0, drawing=other), judged(0)])
    assert resolved(ledger) == []
    assert set(ledger.entries) == {"entry 0"}


def test_what_labels_say_of_an_entry_is_counted_against_the_score_of_the_population():
    records = [drawn(0, 0.9), msgspec.structs.replace(drawn(3, 0.9), population=0.6), judged(0), judged(3, False)]
    seen = ledger_of(records).entries["entry 0"]
    assert (seen.correct, seen.expected, seen.labels) == (1, pytest.approx(1.5), 2)


def test_no_more_entries_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(ledgers, "MOST_ENTRIES", 2)
    ledger = ledger_of([drawn(0), drawn(1), drawn(2), drawn(3), judged(0), judged(1), judged(3), judged(2)])
    assert list(ledger.entries) == ["entry 0", "entry 2"]  # 0 was seen again


def test_per_request_a_draw_waits_until_its_requests_are_counted():
    records = [drawn(0), judged(0), Counted(drawing=SHADOW, requests=7, audited=7), drawn(1), judged(1)]
    ledger = ledger_of(records)
    assert resolved(ledger, counted=True) == ["t0"]
    ledger.take(logged([Counted(drawing=SHADOW, requests=4, audited=4)], after=9))
    groups = ledger.resolved(NS, RULES.versions, after=0, now=NOW, counted=True)
    assert [(end, len(draws)) for end, draws in groups] == [(3, 1), (10, 1)]
    assert ledger.audited(NS, RULES.versions, after=3, up_to=10) == 4
    (design,) = ledger.sample(NS, RULES.versions, after=0, up_to=10).designs
    assert (design.drawn, design.requests) == (2, 11)


def test_a_log_that_is_trimmed_goes_on(monkeypatch):
    monkeypatch.setattr(ledgers, "LOG_LONGEST", 20)
    monkeypatch.setattr(ledgers, "LOG_KEPT", 10)
    records = [record for number in range(10) for record in (drawn(number), judged(number))]
    ledger = ledger_of(records)
    assert ledger.excess() == 0
    ledger.take(logged([drawn(10), judged(10)], after=20))
    assert ledger.excess() == 12
    ledger.forget(12)
    assert resolved(ledger) == [f"t{number}" for number in range(6, 11)]
    assert ledger.excess() == 0
    assert ledger.entries["entry 0"].labels == 4  # what was learned stays
    ledger.take(logged([judged(0, correct=False)], after=30))  # its draw is gone
    assert len(ledger.sample(NS, RULES.versions, after=0, up_to=99)) == 5


# Standings.


def certified():
    records = [record for number in range(200) for record in (drawn(number), judged(number))]
    return stepped(ledger_of(records))


STANDING = StoredStanding().with_(certified())


def test_a_standing_comes_back_with_its_certificate_and_its_history():
    known = STANDING.of(RULES.promise, VERSIONS)
    assert known.state is State.SERVING
    assert known.certificate.threshold == known.threshold
    found, why = decode_standing(encode_standing(STANDING), NS)
    assert (found, why) == (STANDING, "")
    assert [(move.before, move.after) for move in known.transitions[:2]] == [
        ("exact_only", "shadow"),
        ("shadow", "serving"),
    ]


def test_what_a_later_release_adds_is_ignored():
    tree = msgspec.json.decode(encode_standing(STANDING))
    tree["added"] = 1
    tree["standings"][0]["added"] = {"later": [1]}
    tree["standings"][0]["certificate"]["terms"]["added"] = 2
    assert decode_standing(msgspec.json.encode(tree), NS) == (STANDING, "")


def test_a_standing_of_a_later_format_is_left_alone():
    tree = msgspec.json.decode(encode_standing(STANDING))
    found, why = decode_standing(msgspec.json.encode(tree | {"format": 2, "standings": "otherwise"}), NS)
    assert found is None
    assert is_newer(why)


def changed(**values):
    tree = msgspec.json.decode(encode_standing(STANDING))
    known = tree["standings"][0]
    for name, value in values.items():
        place, *rest = name.split("__")
        if rest:
            known[place] = known[place] | {rest[0]: value}
        else:
            known[place] = value
    return msgspec.json.encode(tree)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}"[:1],
        b"\xff\xfe",
        b"[" * 100_000,
        encode_standing(STANDING)[:-2],
        changed(certificate__threshold=0.6),
        changed(certificate__error_upper=0.5),
        changed(certificate__tests=[]),
        changed(threshold=None),
        changed(threshold=0.0),
        changed(threshold=7.0),
        changed(basis=""),
        changed(process=None),
        changed(process__budget=0.0),
        changed(state="exact_only"),
        changed(state="a state to come"),
        changed(labels=-1),
        changed(start=10**9),
        changed(namespace="m/t:0000000000000000"),
    ],
)
def test_a_standing_that_contradicts_itself_is_no_standing(data):
    found, why = decode_standing(data, NS)
    assert found is None
    assert not is_newer(why)
    assert NS in why


def test_the_standings_saved_last_are_kept():
    stored = StoredStanding()
    for number in range(7):
        known = replace_versions(str(number), saved=NOW + number)
        stored = stored.with_(known)
    assert [known.versions.score for known in stored.standings] == ["6", "5", "4", "3"]
    assert len(stored.standings) == MOST_STANDINGS
    again = stored.with_(replace_versions("4", saved=NOW + 99))
    assert {known.versions.score for known in again.standings} == {"6", "5", "4", "3"}
    assert again.of("p", Versions(score="4")).saved == NOW + 99


def replace_versions(score, saved):
    return NamespaceState(namespace=NS, promise="p", versions=replace(VERSIONS, score=score, guards=""), saved=saved)


def test_only_so_many_transitions_are_kept():
    known = certified()
    moves = [msgspec.structs.replace(known.transitions[0], reason=str(number)) for number in range(50)]
    known = msgspec.structs.replace(known, transitions=tuple(moves), process=replace(known.process, peak=30.0))
    after = stepped(Ledger(), msgspec.structs.replace(known, cursor=0, start=0))
    assert len(after.transitions) == 50
    assert [move.reason for move in after.transitions[:-1]] == [move.reason for move in moves[1:]]
    assert after.transitions[-1].after == "tightened"


def test_numbers_are_exact_after_storing():
    process = EProcess(budget=0.02).after_all([False] * 150 + [True])
    known = msgspec.structs.replace(certified(), process=process, saved=NOW + 1 / 3)
    found, _ = decode_standing(encode_standing(StoredStanding().with_(known)), NS)
    assert found.standings[0] == known


def test_a_promise_is_named_by_its_numbers():
    from yamabiko.learn.records import promise_of

    assert promise_of(Policy(max_error_rate=0.02)) == "0.02/0.95/hit"
    assert promise_of(Policy(max_error_rate=0.05, on="request")) == "0.05/0.95/request"


def test_records_hold_numbers_digests_and_nothing_else():
    """Whoever adds a field has to think whether it can hold a text."""
    fields = {kind.__name__: set(kind.__struct_fields__) for kind in (Drawn, Judged, Counted, Imported, Transition)}
    assert fields == {
        "Drawn": {"trial", "drawing", "score", "similarity", "entry", "question", "served", "at", "population"}
        | {"alone", "log_odds", "verifier"},
        "Judged": {"trial", "entry", "correct", "how", "at"},
        "Counted": {"drawing", "requests", "audited"},
        "Imported": {"batch", "drawing", "scores", "correct", "requests", "at"},
        "Transition": {
            *("namespace", "promise", "before", "after", "reason", "at", "threshold", "calibration", "error_upper"),
            *("labels", "attempt", "audits", "audits_wrong", "e_peak"),
        },
    }
