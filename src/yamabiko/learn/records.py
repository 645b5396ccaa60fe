"""What is kept in the store of labels and standings: small records without any text of a question or an answer.

Labels go into one log per root namespace, ``learn:<root>``, each record under an id that a retry repeats, so that it
counts once. A namespace's standing is one value, ``standing:<namespace>``, replaced by compare-and-set. What a later
release adds is passed over; what can't be read is as if it were not there, with one exception: whose standing can't be
read may have been stopped, and is not served for on anybody else's word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import TypeAlias

import msgspec

from yamabiko.core.calibrate import Certificate, Shortfall, Versions
from yamabiko.core.drift import EProcess
from yamabiko.core.sampling import Design
from yamabiko.core.states import State
from yamabiko.errors import ConfigurationError
from yamabiko.types import Calibration, Policy

FORMAT = 1
"""Of standings. A standing of a higher one is neither read nor replaced."""
MOST_TRANSITIONS = 50
MOST_DESIGNS = 8
IMPORTED_EACH = 5000
MOST_STANDINGS = 4
"""A namespace has one standing per promise and versions in use: two policies in an experiment, two releases in a
rolling update. The ones that were saved last are kept."""


def log_name(root: str) -> str:
    """The log of all labels under a root namespace."""
    return f"learn:{root}"


def standing_name(namespace: str) -> str:
    """Where the standings of a namespace are kept."""
    return f"standing:{namespace}"


def promise_of(policy: Policy) -> str:
    """What is promised, as a text: each promise has a standing of its own."""
    return f"{policy.max_error_rate:g}/{policy.confidence:g}/{policy.on}"


def digest_of(versions: Versions) -> str:
    """Tells versions apart: 16 hexadecimal digits. Labels count only under the versions they were made with."""
    return sha256(msgspec.json.encode(versions)).hexdigest()[:16]


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """How look-ups are drawn for a label; see ``Design``. ``versions``: under which scores are comparable.

    ``census``: imported labels, which were not drawn by the cache. The id follows from all else, so that any worker
    makes the same of the same.
    """

    namespace: str
    versions: str
    floor: float
    threshold: float
    below: float
    above: float
    census: bool = False

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return sha256(b"yamabiko.drawing.1" + msgspec.json.encode(self)).hexdigest()[:16]

    def design(self, *, drawn: int = 0, requests: int = 0) -> Design:
        """As the statistics take it. Raises ``ConfigurationError``."""
        return Design(
            id=self.id,
            floor=self.floor,
            threshold=self.threshold,
            below=self.below,
            above=self.above,
            drawn=drawn,
            requests=requests,
        )


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=str.lower):
    """An item of a log of labels."""


class Drawn(Record, frozen=True, kw_only=True):
    """A look-up was drawn for a label. ``question``: its key's digest, hexadecimal. ``at``: seconds UTC epoch.

    ``population``: the candidate's score without what labels said of its entry, where that is another. ``alone``: its
    score without a verifier, and ``log_odds``: what ``verifier`` said of it, where that was asked.
    """

    trial: str
    drawing: Drawing
    score: float
    similarity: float
    entry: str
    question: str
    served: bool
    at: float
    population: float | None = None
    alone: float | None = None
    log_odds: float | None = None
    verifier: str = ""


class Judged(Record, frozen=True, kw_only=True):
    """The verdict on a drawn look-up; ``how`` names the judge that gave it."""

    trial: str
    entry: str
    correct: bool
    how: str
    at: float


class Counted(Record, frozen=True, kw_only=True):
    """How many requests have taken part in a design, and how many of them had a lot to be audited, hit or not."""

    drawing: Drawing
    requests: int
    audited: int


class Imported(Record, frozen=True, kw_only=True):
    """Labels from outside: scores and verdicts of one length. ``batch``: a digest of them all."""

    batch: str
    drawing: Drawing
    scores: tuple[float, ...]
    correct: tuple[bool, ...]
    requests: int
    at: float


AnyRecord: TypeAlias = Drawn | Judged | Counted | Imported


def census_drawing(namespace: str, versions: str, floor: float) -> Drawing:
    """Of imported labels: every would-be hit from ``floor`` on has one."""
    return Drawing(
        namespace=namespace, versions=versions, floor=floor, threshold=floor, below=1.0, above=1.0, census=True
    )


def imported_records(
    drawing: Drawing, labels: Sequence[tuple[float, bool]], *, requests: int, at: float
) -> Iterator[Imported]:
    """Labels from outside, in records that are small enough for a log; the same labels make the same records."""
    for begin in range(0, len(labels), IMPORTED_EACH):
        part = labels[begin : begin + IMPORTED_EACH]
        share = requests * (begin + len(part)) // len(labels) - requests * begin // len(labels)
        scores, correct = tuple(float(score) for score, _ in part), tuple(bool(right) for _, right in part)
        told = msgspec.json.encode((drawing, begin, scores, correct, share))
        batch = sha256(b"yamabiko.imported.1" + told).hexdigest()[:32]
        yield Imported(batch=batch, drawing=drawing, scores=scores, correct=correct, requests=share, at=at)


def encode_record(record: AnyRecord) -> bytes:
    """For the log."""
    return msgspec.msgpack.encode(record)


def decode_record(data: bytes) -> AnyRecord | None:
    """None for what is damaged, or of a kind that a later release added."""
    try:
        record: AnyRecord = msgspec.msgpack.decode(data, type=AnyRecord)
    except msgspec.MsgspecError:
        return None
    return record


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace's standing changed; ``before`` and ``after`` are states, and the same where only the threshold moved.

    ``labels``: drawn since the last alarm or change of versions. ``e_peak`` of ``audits`` with ``audits_wrong``: the
    bet against what it served by, see ``EProcess``. ``at``: seconds UTC epoch.
    """

    namespace: str
    promise: str
    before: str
    after: str
    reason: str
    at: float
    threshold: float | None = None
    calibration: Calibration = "none"
    error_upper: float | None = None
    labels: int = 0
    attempt: int = 0
    audits: int = 0
    audits_wrong: int = 0
    e_peak: float = 1.0


class NamespaceState(msgspec.Struct, frozen=True, kw_only=True):
    """The standing of a namespace under one promise and one set of versions.

    ``since``, ``saved``: seconds UTC epoch. ``cursor``: log position up to which draws have been taken in. ``start``:
    log position behind which labels count; ``labels``: how many draws that are, labelled or missing; ``audited``: how
    many of them were hits that were bet on. ``attempt``: how many attempts to certify have been made of them, the
    latest with ``attempted_labels`` at ``attempted``, the next with ``next_attempt``. ``certificate``: the namespace's
    own, ``shortfall``: what the latest attempt lacked. ``basis``: names what it serves by, its own certificate or
    another's; ``process``: the bet against that, ``fed_from`` a log position on; ``excess``: the tally of the latest
    wrong audits, ``cautious``: whether it is being made good (``learn/caution.py``); ``served_from``: since when it
    has been serving, 0 where it is not. ``refused``: what its own labels speak against, and why; ``checked``: with how
    many labels that was last looked at. ``distrust``: why nobody else's word may be taken; empty where it may.
    ``began``: why it began anew. ``drawing``: the one in force, ``drawings``: the latest ones. ``behind``: why other
    scores are in force instead of these; empty where they are not, or nobody has compared them.
    """

    namespace: str
    promise: str
    versions: Versions
    state: State = State.EXACT_ONLY
    reason: str = ""
    since: float = 0.0
    saved: float = 0.0
    threshold: float | None = None
    calibration: Calibration = "none"
    error_upper: float | None = None
    cursor: int = 0
    start: int = 0
    labels: int = 0
    audited: int = 0
    attempt: int = 0
    next_attempt: int = 0
    attempted_labels: int = 0
    attempted: float = 0.0
    certificate: Certificate | None = None
    shortfall: Shortfall | None = None
    basis: str = ""
    process: EProcess | None = None
    fed_from: int = 0
    excess: float = 0.0
    cautious: bool = False
    served_from: int = 0
    refused: dict[str, str] = msgspec.field(default_factory=dict)
    checked: int = 0
    distrust: str = ""
    began: str = ""
    drawing: Drawing | None = None
    drawings: tuple[Drawing, ...] = ()
    behind: str = ""
    transitions: tuple[Transition, ...] = ()

    @property
    def outcome(self) -> Certificate | Shortfall | None:
        """What its own labels have shown: a certificate stays until another replaces it or it is dropped."""
        return self.certificate if self.certificate is not None else self.shortfall


class StoredStanding(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stored under ``standing:<namespace>``."""

    format: int = FORMAT
    standings: tuple[NamespaceState, ...] = ()

    def of(self, promise: str, versions: Versions) -> NamespaceState | None:
        """The standing under this promise and these versions."""
        fitting = (known for known in self.standings if (known.promise, known.versions) == (promise, versions))
        return next(fitting, None)

    def with_(self, changed: NamespaceState) -> StoredStanding:
        """With one standing in place of what it was; the longest unsaved one may have to go."""
        key = (changed.promise, changed.versions)
        others = [known for known in self.standings if (known.promise, known.versions) != key]
        others.sort(key=lambda known: -known.saved)
        return StoredStanding(standings=(changed, *others[: MOST_STANDINGS - 1]))


class _Head(msgspec.Struct, frozen=True):
    format: int = 0


_NOT_READ = "the stored standing can't be read"
_NEWER = "the standing was stored by a newer release"


def encode_standing(standing: StoredStanding) -> bytes:
    """As JSON, so that people can read it too."""
    return msgspec.json.encode(standing)


def decode_standing(data: bytes, namespace: str) -> tuple[StoredStanding | None, str]:
    """The standing, or None and why it can't be read: a value that contradicts itself is as bad as noise.

    A newer release's is told apart by the reason, since it must not be replaced.
    """
    try:
        if msgspec.json.decode(data, type=_Head).format > FORMAT:
            return None, f"{_NEWER}: {namespace}"
        standing = msgspec.json.decode(data, type=StoredStanding)
    except (msgspec.MsgspecError, ConfigurationError, RecursionError, UnicodeDecodeError):
        return None, f"{_NOT_READ}: {namespace}"
    if standing.format < 1 or not all(_sound(known, namespace) for known in standing.standings):
        return None, f"{_NOT_READ}: {namespace}"
    return standing, ""


def is_newer(why: str) -> bool:
    """Whether ``decode_standing`` met a newer release's standing."""
    return why.startswith(_NEWER)


def _sound(known: NamespaceState, namespace: str) -> bool:
    """Whether it can be so: who serves has a threshold and something that stands behind it."""
    serves = known.state in (State.SERVING, State.TIGHTENED)
    fits = known.namespace == namespace and serves == (known.threshold is not None)
    if serves:
        fits = fits and bool(known.basis) and 0.0 < (known.threshold or 0.0) < 1.0 and known.process is not None
    counts = (known.cursor, known.start, known.labels, known.attempt, known.next_attempt, known.checked)
    times = (known.since, known.saved, known.attempted, known.excess)
    return fits and min(counts) >= 0 and all(map(math.isfinite, times)) and known.start <= known.cursor


def latest(drawings: Iterable[Drawing], drawing: Drawing) -> tuple[Drawing, ...]:
    """The drawings with one more as the last, no more than ``MOST_DESIGNS``."""
    others = [known for known in drawings if known != drawing]
    return (*others[1 - MOST_DESIGNS :], drawing)
