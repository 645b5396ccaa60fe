"""The vocabulary of the Japanese verifier: what is kept of multilingual-e5-small's 250,000 pieces, as a tokenizer.

Kept are the pieces that the trainable texts use, those that Japanese or English text is made of and that come early in
the vocabulary (SentencePiece sorts by frequency), and every single character of both scripts.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from verifier_training.weights import Arrays, Unigram

SIZE = 24_000
FITTING = re.compile(
    "[\u0020-\u007e\u00a0-\u00ff\u2010-\u2060\u2581\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff\uff00-\uffef%々〆ヶ℃°±×÷€£¥№]+"
)
KANA = re.compile("[\u3040-\u30ff]")


def special(pieces: list[str]) -> list[int]:
    return [pieces.index(piece) for piece in ("<s>", "<pad>", "</s>", "<unk>")]


def chosen(vocabulary: Unigram, texts: Iterable[str]) -> list[int]:
    """Ids of the kept pieces, rising, the special ones first."""
    whole = tokenizer(vocabulary.pieces, vocabulary.scores.tolist())
    used: Counter[int] = Counter()
    for text in texts:
        used.update(whole.encode(text, add_special_tokens=False).ids)
    kept = dict.fromkeys(special(vocabulary.pieces))
    fitting = [at for at, piece in enumerate(vocabulary.pieces) if at not in kept and FITTING.fullmatch(piece)]
    single = [at for at in fitting if len(vocabulary.pieces[at].lstrip("\u2581")) <= 1]
    kana = [at for at in fitting if KANA.search(vocabulary.pieces[at])]
    in_use = set(fitting).intersection(used)
    ranked = [*single, *sorted(in_use, key=lambda at: (-used[at], at)), *kana[:9000], *fitting]
    for at in ranked:
        if len(kept) >= SIZE:
            break
        kept.setdefault(at)
    return sorted(kept)


def tokenizer(pieces: list[str], scores: list[float]) -> Any:
    """NFKC, one space for many, SentencePiece's unigram model, and ``<s> a </s> b </s>`` with types 0 and 1."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    made = tokenizers.Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), pieces.index("<unk>")))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    first, last = ("<s>", pieces.index("<s>")), ("</s>", pieces.index("</s>"))
    made.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0 </s>:0", pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1", special_tokens=[first, last]
    )
    return made


def cut(arrays: Arrays, vocabulary: Unigram, kept: list[int]) -> tuple[Arrays, Any]:
    """The weights with the kept rows of the table, and the tokenizer that goes with them."""
    smaller = {**arrays, "embeddings.word": arrays["embeddings.word"][kept]}
    made = tokenizer([vocabulary.pieces[at] for at in kept], [float(vocabulary.scores[at]) for at in kept])
    return smaller, made


def text_of(made: Any) -> str:
    """The tokenizer as compact JSON."""
    return json.dumps(json.loads(made.to_str()), ensure_ascii=False, separators=(",", ":"))
