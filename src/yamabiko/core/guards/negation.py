"""Step 6 of 9: whether a text denies something, in English or Japanese.

Most negative words deny nothing that an answer depends on: "I don't know how to pay" asks how to pay, "isn't it free?"
asks whether it is free, 教えてくれませんか is a polite request and しなければならない is a duty. They are sorted
into firm negations, gentle ones (*fails*, *forbidden*, 失敗: they may paraphrase a firm one) and idle ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from yamabiko.core.guards.reading import Reading, word_set
from yamabiko.core.late import late


@dataclass(frozen=True, slots=True)
class Denial:
    """How a text denies: ``firm`` in what it asks, ``told`` in sentences that lead up to that."""

    firm: int
    told: int
    mild: bool
    """Whether something is denied that need not be: not to find, not to remember."""
    asking: bool
    """Whether a negative question may say the same as a firm negation."""
    unable: int = 0
    """How many of the firm ones say what the asker is unable to do, which is another way to ask for help with it."""

    @property
    def denies(self) -> bool:
        """Whether anything is denied."""
        return self.firm + self.told > 0 or self.mild


NOTHING = Denial(0, 0, mild=False, asking=False)

_NOT = word_set(
    "not cannot don't doesn't didn't can't won't isn't aren't wasn't weren't couldn't shouldn't wouldn't hasn't "
    "haven't hadn't mustn't needn't ain't dont doesnt didnt cant wont isnt arent wasnt werent couldnt shouldnt "
    "wouldnt hasnt havent never no without nobody none nothing nowhere neither nor"
)
_AUXILIARY_NOT = frozenset(word for word in _NOT if word.endswith(("n't", "nt")))
_AUXILIARY = word_set("is are was were do does did can could will would should has have had am may might must")
_SUBJECT = word_set(
    "i you we they he she it the a an my your our their his her this that these those there one people some all "
    "any anyone someone most everyone"
)
_ASKING = word_set("how what where when why which who whom whose if whether")
_KNOWING = word_set(
    "know understand figure find found sure certain remember tell see decide idea clue get getting work realise "
    "realize recall aware clear"
)
_IDLE_AFTER_NOT = word_set("only just merely simply sure certain hesitate worry mind matter otherwise if")
_GENTLE_AFTER_NOT = word_set("find locate see remember recall figure seem know understand")
_IDLE_AFTER_NO = word_set(
    "matter problem doubt worries wonder idea offence offense thanks sorry wait i um uh er no yeah yes make "
    "rather actually what who how when where which why"
)
_REQUESTING = word_set("help please show tell give explain let")
_OPENING = _ASKING | _AUXILIARY | _REQUESTING
_FIRM_PHRASES = (
    ("fail", "to"),
    ("fails", "to"),
    ("failed", "to"),
    ("failing", "to"),
    ("refuse", "to"),
    ("refuses", "to"),
    ("refused", "to"),
    ("unable", "to"),
    ("impossible", "to"),
    ("lack", "of"),
    ("rather", "than"),
)
_FIRM_FIRST = frozenset(first for first, _ in _FIRM_PHRASES)
_TELLING = _NOT | _FIRM_FIRST | word_set("non")
_GENTLE = word_set(
    "unable fail fails failed failing failure lack lacks lacking missing refuse refuses refused reject rejects "
    "rejected rejection deny denies denied decline declines declined error errors broken void invalid prevent "
    "prevents avoid avoids avoiding stop stops stopping forbid forbids forbidden ban banned bans prohibit "
    "prohibits prohibited illegal unlawful impossible exclude excludes excluding except unless ignore ignores "
    "ignored hide hides hidden too wrong trouble problem problems issue issues crash crashes crashing crashed "
    "lost lose free against less empty instead off out block blocks blocked disable disabled disables cancel "
    "cancelled canceled skip skips suppress hardly barely rarely seldom few little unlike absent absence zero "
    "closed close stuck deadlock hate hates dislike late delayed delay bad refusing rid difficult hard hardest "
    "stay keep dead other besides least alone different differs vain own independently "
    "miss misses missed beyond outside only"
)
_UN = late(
    r"(?:un(?!i|der|til|to|cle)|dis(?!c|h|k|p|t|n|e|ea)|non|in(?=ab|acc|act|cap|corr|comp|eff|elig|suff|val))[a-z]{3,}"
)
_SENTENCE = late(r"[.!?;,:]+(?:\s|$)|\s-\s")
_CONDITION = word_set("if when unless once while although though because since even before after whether")
_WORD = late(r"[^\W_]+(?:'[a-z]+)?")


def denial(reading: Reading) -> Denial:
    """What a text denies."""
    if reading.language == "ja":
        return _japanese(reading.folded)
    if reading.language == "en":
        return _english(reading)
    return NOTHING


def gentle(reading: Reading) -> frozenset[str]:
    """Words that may say the same as a firm negation does."""
    if reading.language == "ja":
        return frozenset(_GENTLE_JA.findall(reading.folded))
    words = reading.words
    negative = {word for word in words if len(word) > 5 and word[0] in "udni" and _UN.fullmatch(word)}
    return words & _GENTLE | negative


def _english(reading: Reading) -> Denial:
    words = reading.words
    if words.isdisjoint(_TELLING):
        return NOTHING
    mild = asking = False
    counts: list[tuple[int, bool]] = []
    openings: list[str] = []
    for piece, asks in _sentences(reading.folded):
        firm, soft, question = _in_clause(piece, tag=bool(counts), asks=asks)
        mild = mild or soft
        asking = asking or question
        counts.append((firm, asks))
        openings.append(piece[0])
    told = 0
    last = _last_question(openings, counts)
    for number, (firm, _) in enumerate(counts):
        if number < last and openings[number] not in _CONDITION:
            told += firm
    firm = sum(firm for firm, _ in counts) - told
    return Denial(firm, told, mild=mild, asking=asking, unable=min(firm, _unable(reading.tokens)))


_CANNOT = word_set("cannot can't cant couldn't couldnt unable")
_HELPING = word_set("help assist assistance support need want trying how problem problems trouble issue issues")


def _unable(tokens: tuple[str, ...]) -> int:
    """How often a text tells what its writer can't do."""
    if "i" not in tokens and "i'm" not in tokens:
        return 0
    count = 0
    for at, word in enumerate(tokens[:-1]):
        if word in {"i", "i'm"}:
            after = tokens[at + 1]
            count += after in _CANNOT or (
                after in {"can", "am"} and tokens[at + 2 : at + 3] in {("not",), ("no",), ("unable",)}
            )
    return count


def wants_help(reading: Reading) -> bool:
    """Whether a text asks to be helped with something."""
    return reading.language == "en" and not reading.words.isdisjoint(_HELPING)


def _sentences(text: str) -> Iterator[tuple[list[str], bool]]:
    """The words of each sentence or clause, and whether a question mark ends it."""
    begin = 0
    for match in _SENTENCE.finditer(text):
        words = _WORD.findall(text, begin, match.start())
        begin = match.end()
        if words:
            yield words, match[0][0] == "?"
    words = _WORD.findall(text, begin)
    if words:
        yield words, False


def sentences(reading: Reading) -> int:
    """How many sentences or clauses a text has."""
    if reading.language == "ja":
        return sum(not piece.isspace() for piece in re.split("[。?!\n]", reading.folded) if piece)
    return sum(1 for _ in _sentences(reading.folded))


def _last_question(first_words: list[str], counts: list[tuple[int, bool]]) -> int:
    """The place of the last sentence if it asks without denying, and so may be all that an answer depends on."""
    last = len(counts) - 1
    if last < 1:
        return 0
    asks = first_words[last] in _OPENING or counts[last][1]
    return last if last and asks and not counts[last][0] else 0


def _in_clause(words: list[str], *, tag: bool, asks: bool) -> tuple[int, bool, bool]:
    """How often a clause denies firmly, whether it does so mildly, and whether it only asks."""
    firm = 0
    mild = asking = False
    for at, word in enumerate(words):
        if word not in _TELLING:
            continue
        if word in _FIRM_FIRST:
            firm += (word, words[at + 1] if at + 1 < len(words) else "") in _FIRM_PHRASES
            continue
        if word == "non":
            firm += at + 1 < len(words) and words[at + 1] not in {"stop", "fiction", "stick", "profit", "empty"}
            mild = True
            continue
        before = words[at - 1] if at else ""
        after = words[at + 1] if at + 1 < len(words) else ""
        if _is_idle(words, at, before, after):
            continue
        if _only_asks(words, at, after, tag=tag, asks=asks):
            asking = True
            continue
        if after in _GENTLE_AFTER_NOT or (word == "not" and before == "why") or _is_no_way(word, before, after):
            mild = True
            continue
        firm += 1
    return firm, mild, asking


def _is_no_way(word: str, before: str, after: str) -> bool:
    return (word == "no" and after in {"way", "one"} and before in {"there's", "is"}) or (
        word in {"nothing", "nobody"} and after in {"but", "else"}
    )


def _is_idle(words: list[str], at: int, before: str, after: str) -> bool:
    """Whether a negative word is there for another reason than to deny."""
    word = words[at]
    if word in {"no", "not"} and words[at + 2 : at + 3] == ["than"]:
        return True
    if (
        (after in _IDLE_AFTER_NOT and before != "should")
        or before == "if"
        or (word == "no" and (after in _IDLE_AFTER_NO or after.isdigit()))
    ):
        return True
    if before == "or" and (not after or (word in _AUXILIARY_NOT and at + 3 > len(words))):
        return True
    if before == "whether" or (before == "or" and "whether" in words):
        return True
    if word == "no" and len(words) == 1:
        return True
    if before == "why" and word in {"don't", "dont"} and after in {"we", "you"}:
        return True
    return any(
        words[place] in _KNOWING and not _ASKING.isdisjoint(words[place + 1 : place + 5])
        for place in range(at + 1, min(at + 4, len(words)))
    )


def _only_asks(words: list[str], at: int, after: str, *, tag: bool, asks: bool) -> bool:
    """Whether it only makes a question: isn't it free? Is it not free? It is free, isn't it."""
    word = words[at]
    if word in _AUXILIARY_NOT and at == 0 and (asks or after in _SUBJECT or tag):
        return word not in {"don't", "dont"} or asks
    if word != "not" or not asks or words[0] not in _AUXILIARY or words[1] not in _SUBJECT:
        return False
    return 2 <= at <= 4 and after != "to" and words[at - 1] != "to"


_IDLE_JA = late(
    r"かも(?:し|知)れ(?:ない|ません)|(?:に)?(?:違|ちが)い(?:ない|なく|ありません)|しか[^、。?]{0,10}?(?:ない|無い|ません)|ほか(?:は|に)?(?:ない|ありません)"
    r"|な(?:ければ|くては|いと|きゃ|くちゃ)(?:いけ|なら|なり|だめ|駄目|ダメ)(?:ない|なく|なかった|ません|なの|です|$)?|なきゃ|なくちゃ|ねばなら(?:ない|ず|ぬ|ません)"
    r"|ざるを(?:得|え)(?:ない|ません)|(?:仕方|しかた|しょう)(?:が|も)?(?:ない|なく|ありません)"
    r"|(?:分か|わか|判)(?:ら|り)(?:ない|なく|なかった|ません|ず)|(?:知|し)(?:ら|り)(?:ない|ません)|(?:少|すく)な[いくめか]"
    r"|(?:危|幼|切|汚|情け|とんでも|もったい|つまら|くだら|さりげ|何気|はか|だらし|申し訳|そっけ)(?:ない|なく|ありません)"
    r"|(?:構|かま)(?:わ|い)(?:ない|なく|なければ|ません)|差し支え(?:ない|ありません)|非の打ち|(?:行|おこ|とも|うし|そこ|つぐ)な[いえわっ]"
    r"|見(?:つか|当た)ら(?:ない|なく|ず)|見つかりません|見当たりません|問題(?:ない|なく|ありません)|間(?:も)?なく|まもなく|すみません|すいません|(?:だけ|のみ|ばかり)で(?:は)?なく|のみならず"
    r"|[なん無]くし|なくな|無くな|必ず|まず|はず|ずつ|いずれ|わずか|遠慮なく|お構いなく|何となく|なんとなく|限りなく|なるべく|絶え間なく"
    r"|よろしくな|思わず|相変わらず|残らず|足らず|にもかかわらず|に関わらず|にかかわらず|を問わず|とは限らない|過ぎない|すぎない|過ぎません|すぎません"
)
_POLITE_JA = late(
    r"(?:ません|ない|無い|ないの|無いの)(?:でしょう|です|の|ん)?(?:でしょう|です)?か(?:ね|な)?[\s。?!]*$"
    r"|のでは[?。]*$|ではない(?:の)?かと"
    r"|(?:ません|ない)でしょうか[。?]|(?:ません|ないです)か[。?]"
)
_REQUEST_JA = late(
    r"(?:くれ|もらえ|くださ|下さ|ください|いただけ|頂け|貰え)(?:ませんか|ないか|ないでしょうか|ませんでしょうか|ない[?])"
)
_WHY_JA = late(r"なぜ|何故|どうして|なんで|理由|原因|いつから")
_FIRM_JA = late(
    r"な(?:い|かった|かっ|く(?:て|とも)?|けれ)(?!ら)|無い|無く|ません|(?<![いごさよ])ずに|せず|(?<=[かわらまがばたな])ず(?=[、。]|$)|ておらず"
    r"|(?:ら|せ|わ|か)ぬ(?!り)|(?<![はおいのん])(?:なし|無し)(?![とげ])|ては(?:いけ|なら)|てはだめ|ちゃ(?:だめ|いけ)|たら(?:だめ|いけ)"
    r"|未(?=[\u3400-\u9fff])(?![来満明亡熟])|不(?:要|可(?!欠)|在|参加|合格|成立|許可|採用|使用|必要|登録|承認|履行|同意|支持|採算)"
    r"|無(?:断|許可|登録|保険|職|資格|色|糖|添加|農薬|担保|利子|記名|免許|申告|税|塩|香料|着色)|非(?=[\u3400-\u9fff])(?![常難凡行]|公開|表示|同期|正規)"
)
_SIGNS_JA = ("ない", "なか", "なく", "なけ", "なし", "無", "ませ", "ず", "ぬ", "ては", "ちゃ", "たら", "未", "不", "非")
_GENTLE_JA = late(
    r"失敗|拒否|拒む|断る|断ら|禁止|だめ|駄目|不能|不可|切れ|紛失|なくし|無くし|忘れ|失く|失う|エラー|停止|止ま|止め|違反|違法|無効|欠|不足|不眠|不振|不調|不具合|無料"
    r"|除く|除き|以外|過ぎ|すぎ|困|間違|難し|のみ|だけ|ない|ません|拒絶|却下|壊れ|故障|遅れ|遅延|中止|空の|無限|不明|未だ|オフ|ゼロ|避け|防|解除|やめ|フリー|抜き|嫌|珍し|稀|まれ[なに]|めったに|例外|完璧|無理|不可能|続[くい]|まま|独学|独力|自分で|一人で"
)


def _japanese(text: str) -> Denial:
    if not any(sign in text for sign in _SIGNS_JA) or not _FIRM_JA.search(text):
        return NOTHING
    plain = _IDLE_JA.sub("*", text)
    plain = _REQUEST_JA.sub("*", plain)
    if not _WHY_JA.search(plain):
        plain = _POLITE_JA.sub("*", plain)
    firm = len(_FIRM_JA.findall(plain))
    if not firm:
        return NOTHING
    sentences = [piece for piece in re.split("[。?!\n]", plain) if piece.strip()]
    told = 0
    if len(sentences) > 1 and not _FIRM_JA.search(sentences[-1]):
        told = sum(len(_FIRM_JA.findall(piece)) for piece in sentences[:-1])
    return Denial(firm - told, told, mild=False, asking=False)
