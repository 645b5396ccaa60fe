"""The verifier on this device: its files, both orders, its window, its script, its deadline; on a model made here."""

import asyncio
import json
import threading

import pytest

from pairing import WORDS, expected, write_verifier
from yamabiko.errors import ConfigurationError, VerifierError
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Candidate, Entry, Question, Reply, Request, Scope
from yamabiko.verifiers.cross_encoder import CrossEncoder
from yamabiko.verifiers.manifest import read_manifests

OPEN, SHUT, LATER = "open the door", "close the door", "please open the door now"


def candidate(text):
    scope = Scope(content=b"c" * 32, digest=b"d" * 32, tenant="", user="", model="", embedder="fake")
    question = Question(digest=b"q" * 32, text=text)
    return Candidate(
        entry=Entry(id=text, scope=scope, questions=(question,), reply=Reply(text="so"), created=0.0), similarity=0.9
    )


class TwoModels(FakeEmbedder):
    """Another model for Japanese, as the default has it."""

    def model_for(self, text, /):
        return "latin" if text.isascii() else "japanese"


def said(folder, asked, stored, *, embedder=None, **options):
    async def run():
        async with CrossEncoder(embedder or TwoModels(), path=folder, **options) as verifier:
            request, candidates = Request(asked), [candidate(text) for text in stored]
            return list(await verifier.log_odds(request, candidates)), list(await verifier.same(request, candidates))

    return asyncio.run(run())


def test_it_gives_the_mean_of_both_orders_whatever_stands_beside_it(tmp_path):
    folder = write_verifier(tmp_path / "v")
    together, verdicts = said(folder, OPEN, [OPEN, SHUT, LATER])
    assert together == pytest.approx([expected(OPEN, other) for other in (OPEN, SHUT, LATER)], abs=1e-5)
    for other, found in zip((OPEN, SHUT, LATER), together, strict=True):
        assert said(folder, OPEN, [other])[0] == pytest.approx([found], abs=1e-6)
        assert said(folder, other, [OPEN])[0] == pytest.approx([found], abs=1e-6)
    assert verdicts == [found >= 2.2 for found in together]


def test_temperature_and_offset_calibrate_it(tmp_path):
    plain, _ = said(write_verifier(tmp_path / "a"), OPEN, [LATER])
    calibration = {"temperature": 2.0, "offset": 0.25}
    found, _ = said(write_verifier(tmp_path / "b", calibration=calibration), OPEN, [LATER])
    assert found == pytest.approx([plain[0] / 2 + 0.25])


def test_it_says_nothing_of_what_it_can_not_see_whole_or_know(tmp_path):
    folder = write_verifier(tmp_path / "v", window=12)
    long = " ".join(["open"] * 12)
    found, verdicts = said(folder, OPEN, [OPEN, long, "open the gate", "開け て"])
    assert [value is None for value in found] == [False, True, True, True]
    assert verdicts[1:] == [False, False, False]


def test_the_script_decides_which_model_reads(tmp_path):
    write_verifier(tmp_path / "v" / "en", languages=["en"], name="one")
    calibration = {"temperature": 1.0, "offset": 1.0}
    write_verifier(tmp_path / "v" / "ja", languages=["ja"], name="two", calibration=calibration)
    assert said(tmp_path / "v", "窓 を 開け て", ["窓 を 開け て"])[0] == pytest.approx([3.0])
    assert said(tmp_path / "v", OPEN, [OPEN])[0] == pytest.approx([2.0])
    verifier = CrossEncoder(TwoModels(), path=tmp_path / "v")
    assert verifier.mix_for("latin").name.startswith("one-1@")
    assert verifier.mix_for("japanese").name.startswith("two-1@")
    assert verifier.mix_for("fake") is None
    # one embedding model whose questions two verifiers would read: their scores could not be compared
    assert CrossEncoder(FakeEmbedder(), path=tmp_path / "v").mix_for("fake") is None


def test_weights_per_embedder_go_before_the_general_ones(tmp_path):
    own = {"bias": 0.5, "score_logit": 0.7, "verifier_logit": 0.9, "low": 0.1, "high": 0.9, "rows": [[0.9, 100, 1]]}
    folder = write_verifier(tmp_path / "v", languages=["en", "ja"], mixes={"fake": own})
    mix = CrossEncoder(FakeEmbedder(), path=folder).mix_for("fake")
    assert (mix.bias, mix.score, mix.verifier, mix.low, mix.high, mix.rows) == (
        0.5,
        0.7,
        0.9,
        0.1,
        0.9,
        ((0.9, 100, 1),),
    )
    assert CrossEncoder(FakeEmbedder(id="other"), path=folder).mix_for("other").bias == 0.0


def test_another_file_than_the_one_that_was_pinned_is_refused(tmp_path):
    folder = write_verifier(tmp_path / "v")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b" ")
    with pytest.raises(VerifierError, match="SHA-256"):
        said(folder, OPEN, [OPEN])


@pytest.mark.parametrize(
    "broken", [{"window": 2}, {"sha256": {"model.onnx": "12"}}, {"languages": 3}, {"model": "../model.onnx"}]
)
def test_a_manifest_that_can_not_be_is_refused_when_it_is_read(tmp_path, broken):
    folder = write_verifier(tmp_path / "v")
    manifest = json.loads((folder / "manifest.json").read_text()) | broken
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError):
        CrossEncoder(FakeEmbedder(), path=folder)


def test_a_folder_without_a_manifest_or_with_two_for_one_script_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="no verifier"):
        read_manifests(tmp_path / "empty")
    write_verifier(tmp_path / "v" / "a")
    write_verifier(tmp_path / "v" / "b")
    with pytest.raises(ConfigurationError, match="two verifiers"):
        CrossEncoder(FakeEmbedder(), path=tmp_path / "v")


def test_late_is_an_error_and_so_is_closed(tmp_path):
    async def run():
        verifier = CrossEncoder(FakeEmbedder(), path=write_verifier(tmp_path / "v"), timeout_seconds=0.05)
        await verifier.load()
        held = threading.Event()
        waiting = asyncio.get_running_loop().run_in_executor(verifier._pool, held.wait)
        with pytest.raises(VerifierError, match=r"0\.05 s"):
            await verifier.log_odds(Request(OPEN), [candidate(OPEN)])
        held.set()
        await waiting
        assert (await verifier.log_odds(Request(OPEN), [candidate(OPEN)]))[0] is not None
        await verifier.close()
        await verifier.close()
        with pytest.raises(VerifierError, match="closed"):
            await verifier.log_odds(Request(OPEN), [candidate(OPEN)])

    asyncio.run(run())


def test_many_at_once_wait_for_their_turn(tmp_path):
    async def run():
        async with CrossEncoder(TwoModels(), path=write_verifier(tmp_path / "v"), timeout_seconds=10) as verifier:
            asking = [verifier.log_odds(Request(OPEN), [candidate(OPEN), candidate(SHUT)]) for _ in range(50)]
            return await asyncio.gather(*asking)

    found = asyncio.run(run())
    assert all(list(one) == pytest.approx([expected(OPEN, OPEN), expected(OPEN, SHUT)]) for one in found)


def test_the_words_are_those_that_the_tiny_model_knows():
    assert {word for text in (OPEN, SHUT, LATER) for word in text.split()} <= set(WORDS)
