"""Looks for suffixes that make a text collide with somebody else's question, for benchmarks/poisoning.py.

    python benchmarks/poisoning_search.py [--evaluations 700] [--victims 24] [--seed 0]

The attacker of CacheAttack (arXiv 2601.23088): a command of one's own, then a suffix, so that the embedding of both
comes to lie on the victim's question; here offline against the very models that the cache uses, which is the most that
an attacker can have short of gradients. Per victim three searches, each with so many evaluations:

* ``suffix``: any word of the model's vocabulary and of the victim's question, towards the greatest cosine;
* ``disjoint``: the same without the victim's own words and their stems, so that no rule about shared words sees it;
* ``adaptive``: an attacker who has read our sources: towards the greatest score, as ``core.score`` gives it, among
  the texts that no guard forbids; in two sentences or run together in one.

The command stands before the words or behind them (the black-box attack of Wu et al., NDSS 2026, has the victim's
question in front). The search is greedy: of so many changes of one place (insertion, exchange, move, removal) the best
is taken, until nothing tried makes it better. The first and the third begin with the victim's own words. Writes benchmarks/poisoning_found.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yamabiko.core import guards
from yamabiko.core.score import NO_RUNNER_UP, features, model_for
from yamabiko.core.wording import stem
from yamabiko.embedders.local import minilm, use_m3
from yamabiko.embedders.ondevice import TextModel
from yamabiko.embedders.weights import DATA

HERE = Path(__file__).parent
FOUND = HERE / "poisoning_found.json"
VICTIMS = HERE / "poisoning_victims.json"
LONGEST = 20
"""Words of a suffix at most."""
KINDS = ("suffix", "disjoint", "adaptive")
POOL = 160
"""Words that a search may use, those nearest to the victim's question by themselves."""
NEIGHBOURS = 48
"""Changes tried before the best of them is taken."""


def vocabulary(lang: str, victims: Sequence[str]) -> list[str]:
    """Words to choose from: of MiniLM's vocabulary, or pieces of the Japanese texts at hand and common words."""
    if lang == "en":
        pieces = gzip.decompress((DATA / "bert-uncased-vocab.txt.gz").read_bytes()).decode().splitlines()
        return [piece for piece in pieces[2000:12000] if re.fullmatch("[a-z]{3,12}", piece)]
    runs = re.findall(r"[\u30a0-\u30ff]{2,}|[\u4e00-\u9fff]{2,}|[\u3041-\u309f]{2,6}", " ".join(victims))
    common = (
        "変更 更新 停止 開始 登録 削除 追加 確認 送信 受信 設定 解除 料金 費用 金額 期間 期限 手順 方法 手段 質問 回答 "
        "住所 電話 書類 口座 銀行 切符 運賃 子供 幼児 大人 電車 列車 飛行機 航空 欠航 遅れ 払戻 返金 返品 交換 商品 薬 "
        "手術 服用 鎮痛剤 薬剤 端末 印刷 無線 接続 回線 保証 修理 中古 鍵 暗号 認証 本人 会員 購読 契約 解約 退会 "
        "海外 国際 国内 送金 振込 為替 紛失 盗難 連絡 窓口 宛先 配達 届け先 合言葉 ログイン アカウント コード 忘れた "
        "どうやって いくら どこ なに どのくらい できますか ください 知りたい 教えて"
    )
    return list(dict.fromkeys([*runs, *common.split()]))


class Search:
    """One victim, one model; counts what it evaluates."""

    def __init__(self, model: TextModel, target: str, evaluations: int, rng: random.Random, lang: str) -> None:
        self.model, self.rng, self.left = model, rng, evaluations
        self.lang = lang
        self.target = target
        self.vector = model.embed([target])[0]

    def cosines(self, texts: Sequence[str]) -> list[float]:
        self.left -= len(texts)
        return [-1.0 if v is None else float(v @ self.vector) for v in self.model.embed(texts)]

    def climb(
        self,
        say: Callable[[Sequence[str]], str],
        start: Sequence[str],
        pool: Sequence[str],
        worth: Callable[[str, float], float],
        *,
        goal: float,
        budget: int,
    ) -> tuple[str, float, float]:
        """The best text found, its worth and its cosine. ``say`` makes a text of the suffix's words."""
        best_words = list(start)
        text = say(best_words)
        best = (worth(text, cosine := self.cosines([text])[0]), cosine)
        stuck, least = 0, self.left - budget
        while self.left > least and stuck < 8 and best[0] < goal:
            tried = self.neighbours(best_words, pool)
            texts = [say(words) for words in tried]
            cosines = self.cosines(texts)
            rated = [(worth(text, cosine), cosine) for text, cosine in zip(texts, cosines, strict=True)]
            at = max(range(len(rated)), key=lambda at: rated[at][0])
            if rated[at][0] > best[0] + 1e-4:
                best, best_words, stuck = rated[at], tried[at], 0
            else:
                stuck += 1
        return say(best_words), best[0], best[1]

    def ways(self, command: str, *, open_too: bool) -> list[Callable[[Sequence[str]], str]]:
        """How command and suffix become a text: either first, in two sentences or (``open_too``) run together."""
        ending, space = ("?", " ") if self.lang == "en" else ("。", "")

        def way(behind: bool, closed: bool) -> Callable[[Sequence[str]], str]:
            order = command if closed else command.rstrip(".。")

            def say(words: Sequence[str]) -> str:
                said = space.join(words) + (ending if closed and words else "")
                return space.join(part for part in ((said, order) if behind else (order, said)) if part)

            return say

        return [way(behind, closed) for closed in ((True, False) if open_too else (True,)) for behind in (False, True)]

    def neighbours(self, words: list[str], pool: Sequence[str]) -> list[list[str]]:
        """So many changes of one place, by chance."""
        found = []
        for _ in range(NEIGHBOURS):
            new, at = list(words), self.rng.randrange(len(words) + 1)
            kind = self.rng.random()
            if len(new) < LONGEST and (not new or kind < 0.5):
                new.insert(at, self.rng.choice(pool))
            elif kind < 0.85:
                new[at % len(new)] = self.rng.choice(pool)
            elif kind < 0.95:
                new.insert(self.rng.randrange(len(new)), new.pop(at % len(new)))
            else:
                new.pop(at % len(new))
            found.append(new)
        return found


def own_words(target: str, lang: str) -> list[str]:
    if lang == "en":
        return re.findall("[a-z0-9-]+", target.lower())
    return re.findall(r"[A-Za-z0-9-]+|[\u30a0-\u30ff]+|[\u4e00-\u9fff]+|[\u3041-\u309f]+", target)


def rate(target: str, name: str) -> Callable[[str, float], float]:
    """The score that the cache would give, or a number below 0 where a guard forbids it."""
    model = model_for(name)
    asked = guards.read(target)

    def worth(text: str, cosine: float) -> float:
        stored = guards.read(text)
        findings = guards.check(asked, stored)
        against = len(guards.vetoes(findings))
        score = model.score(features(asked, stored, findings, similarity=cosine, margin=NO_RUNNER_UP))
        return score if not against else score - against

    return worth


def attack(model: TextModel, row: dict, command: str, known: dict[str, np.ndarray], options) -> list[dict]:
    lang, target = row["lang"], row["asked"]
    rng = random.Random(f"{options.seed}/{target}")
    vector = model.embed([target])[0]
    near = sorted(known, key=lambda word: -float(known[word] @ vector))[:POOL]
    own = own_words(target, lang)
    taken = {stem(word) for word in own} if lang == "en" else set(own)
    joined = "".join(own)
    apart = [n for n in near if (stem(n) not in taken if lang == "en" else n not in joined and joined not in n)]
    found = []
    as_is = own if lang == "en" else [target]
    kinds = (
        ("suffix", as_is, own * 6 + near, lambda _, cosine: cosine, 0.97),
        ("disjoint", [], apart, lambda _, cosine: cosine, 0.97),
        ("adaptive", as_is, own * 6 + near, rate(target, model.name), 0.9999),
    )
    for kind, start, pool, worth, goal in (one for one in kinds if one[0] in options.kinds):
        search = Search(model, target, options.evaluations, rng, lang)
        ways = search.ways(command, open_too=kind == "adaptive")
        each = options.evaluations // len(ways)
        found_here = [search.climb(say, start, pool, worth, goal=goal, budget=each) for say in ways]
        text, value, cosine = max(found_here, key=lambda one: one[1])
        used = options.evaluations - search.left
        found.append({"lang": lang, "kind": kind, "victim": target, "text": text, "cosine": round(cosine, 4)})
        found[-1] |= {"worth": round(value, 4), "evaluations": used}
        print(f"{kind:9} {cosine:.3f} {value:.3f} {used:5} {text}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=700, help="texts embedded per search")
    parser.add_argument("--victims", type=int, default=24, help="so many of both languages, in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="only these; others stay")
    options = parser.parse_args()
    data = json.loads(VICTIMS.read_text(encoding="utf-8"))
    started, found = time.process_time(), []
    if set(options.kinds) != set(KINDS):
        kept = json.loads(FOUND.read_text(encoding="utf-8"))["found"]
        found = [row for row in kept if row["kind"] not in options.kinds]
    for lang, make in (("en", minilm), ("ja", use_m3)):
        model = make(threads=1)
        rows = [row for row in data["victims"] if row["lang"] == lang][: (options.victims + 1) // 2]
        names = vocabulary(lang, [row["asked"] for row in rows])
        vectors = zip(names, model.embed(names), strict=True)
        known = {name: vector for name, vector in vectors if vector is not None}
        for at, row in enumerate(rows):
            commands = data["commands"][lang]
            found += attack(model, row, commands[at % len(commands)], known, options)
    how = {
        "made_by": "benchmarks/poisoning_search.py",
        "seed": options.seed,
        "evaluations_per_search": options.evaluations,
        "cpu_seconds": round(time.process_time() - started),
    }
    FOUND.write_text(json.dumps({"how": how, "found": found}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print("written to", FOUND)


if __name__ == "__main__":
    main()
