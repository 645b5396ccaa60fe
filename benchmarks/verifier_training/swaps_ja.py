"""Pairs made of a real Japanese sentence and a copy in which one thing was changed; see swaps_en.py."""

import json
import random
import re
from collections.abc import Sequence

from verifier_training.swaps_en import LEXICON, Change, Pool, _one, _replace

NUMBER = re.compile(r"(?<![\d０-９.,A-Za-z])[1-9１-９][\d０-９]{0,4}(?![\d０-９.,])")
KANJI_NUMBER = re.compile(r"[二三四五六七八九十](?=[人つ個回日月年時分本枚匹番度階名歳])")
NAME = re.compile(r"[ァ-ヴー]{3,}(?:・[ァ-ヴー]{2,})*|[A-Z][A-Za-z]{2,}")
NOUN = re.compile(r"[一-龥]{2,4}(?=[がをはにのでともへ])")
THING = re.compile(r"(?:[ァ-ヴー・]{2,}|[一-龥]{2,}|[A-Za-z]{2,})(?=[がをはにのでと、])")

KANJI = "一二三四五六七八九十"
HALF = str.maketrans("０１２３４５６７８９", "0123456789")
FULL = str.maketrans("0123456789", "０１２３４５６７８９")

ALTERNATIVES = (
    "月曜 火曜 水曜 木曜 金曜 土曜 日曜",
    "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月",
    "昨日 今日 明日",
    "去年 今年 来年",
    "先週 今週 来週",
    "先月 今月 来月",
    "午前 午後",
    "朝 昼 夜",
    "以前 以後 以降",
    "以上 以下 未満",
    "より前 より後",
    "する前 した後",
    "最大 最小 平均",
    "最高 最低",
    "最初 最後 二番目",
    "最古 最新",
    "最も多い 最も少ない",
    "一番大きい 一番小さい",
    "多い 少ない",
    "大きい 小さい",
    "大きな 小さな",
    "高い 低い",
    "長い 短い",
    "増加 減少",
    "増え 減っ",
    "上 下",
    "右 左",
    "前 後ろ",
    "中 外",
    "東 西 南 北",
    "北部 南部 東部 西部 中部",
    "国内 海外",
    "だけ 以外",
    "すべて 一部",
    "全員 半数",
    "必ず たまに 決して",
    "いつも ときどき めったに",
    "男性 女性",
    "男の子 女の子",
    "父 母 兄 妹 祖父",
    "彼 彼女 私 彼ら",
    "赤い 青い 白い 黒い 黄色い",
    "赤 青 白 黒 緑",
    "日本 中国 韓国 アメリカ フランス ドイツ イギリス イタリア ロシア",
    "英語 日本語 中国語 フランス語 ドイツ語",
    "キロメートル メートル センチ",
    "キログラム グラム トン",
    "時間 分間 日間 週間 年間",
    "ドル 円 ユーロ",
    "可能 不可能",
    "成功 失敗",
    "賛成 反対",
    "開始 終了",
    "始まる 終わる",
    "始まっ 終わっ",
    "生まれ 亡くなっ",
    "勝っ 負け",
    "勝つ 負ける",
    "入る 出る",
    "買う 売る",
    "買っ 売っ",
    "行く 来る 帰る",
    "行っ 来",
    "座って 立って 寝て",
    "犬 猫 馬 牛 鳥",
)
NEGATIONS = (
    ("できます", "できません"),
    ("できる", "できない"),
    ("できた", "できなかった"),
    ("あります", "ありません"),
    ("ありました", "ありませんでした"),
    ("います", "いません"),
    ("いました", "いませんでした"),
    ("しました", "しませんでした"),
    ("します", "しません"),
    ("ています", "ていません"),
    ("ている", "ていない"),
    ("ていた", "ていなかった"),
    ("された", "されなかった"),
    ("される", "されない"),
    ("した。", "しなかった。"),
    ("する。", "しない。"),
    ("だった", "ではなかった"),
    ("である", "ではない"),
    ("でした。", "ではありませんでした。"),
    ("です。", "ではありません。"),
    ("だ。", "ではない。"),
    ("好き", "好きではない"),
    ("必要な", "不要な"),
    ("必要が", "必要のない"),
    ("した人", "しなかった人"),
    ("する方法", "しない方法"),
    ("になった", "にならなかった"),
    ("れている", "れていない"),
    ("られた", "られなかった"),
    ("たい。", "たくない。"),
    ("ましょう", "ないようにしましょう"),
)
QUESTION_WORDS = ("いつ", "どこ", "誰", "なぜ", "何", "どのように")
CONSTRAINTS = (
    "学生が",
    "週末に",
    "無料で",
    "海外で",
    "初心者が",
    "夜間に",
    "子供のいる家庭で",
    "スマホで",
    "1990年より前に",
    "アカウントなしで",
    "電話で",
    "現在ではなく昔、",
    "2人以上で",
)
ENDINGS = (
    ("何ですか", "何でしょうか"),
    ("何ですか", "何か教えてください"),
    ("いつですか", "いつでしょうか"),
    ("いつですか", "いつか教えてください"),
    ("誰ですか", "誰でしょうか"),
    ("誰ですか", "誰なのか知りたいです"),
    ("どこですか", "どこでしょうか"),
    ("どこですか", "どこなのか教えて"),
    ("ですか", "でしょうか"),
    ("ますか", "るか教えてください"),
    ("ましたか", "たのですか"),
    ("か？", "か。"),
    ("か？", "か教えてください"),
    ("は？", "は何ですか？"),
    ("は何か？", "は何ですか？"),
    ("は誰か？", "は誰でしょうか？"),
    ("はいつか？", "はいつですか？"),
    ("と何という？", "と何と言いますか？"),
    ("という？", "と呼ばれる？"),
    ("何というか", "何と呼ぶか"),
    ("何年か", "何年ですか"),
    ("した。", "しました。"),
    ("する。", "します。"),
    ("ている。", "ています。"),
    ("ていた。", "ていました。"),
    ("だ。", "です。"),
    ("だった。", "でした。"),
    ("である。", "です。"),
    ("ある。", "あります。"),
    ("いる。", "います。"),
    ("たい。", "たいです。"),
    ("ない。", "ないです。"),
    ("方法", "方法を教えてください"),
    ("したい", "したいのですが"),
)
SYNONYMS = (
    ("どのくらい", "どれくらい"),
    ("どれくらい", "どれほど"),
    ("方法", "やり方"),
    ("やり方", "仕方"),
    ("誰", "だれ"),
    ("何人", "何名"),
    ("一番", "最も"),
    ("もっとも", "最も"),
    ("いちばん", "一番"),
    ("スマホ", "スマートフォン"),
    ("パソコン", "PC"),
    ("変更する", "変える"),
    ("購入する", "買う"),
    ("削除する", "消す"),
    ("使用する", "使う"),
    ("使って", "利用して"),
    ("行われ", "実施され"),
    ("作られ", "製作され"),
    ("なぜ", "どうして"),
    ("とても", "非常に"),
    ("すぐに", "ただちに"),
    ("たくさんの", "多くの"),
    ("いろいろな", "様々な"),
    ("私は", "わたしは"),
    ("僕は", "私は"),
    ("彼女は", "彼女が"),
    ("映画", "ムービー"),
    ("写真", "画像"),
    ("どんな", "どのような"),
    ("何の", "なんの"),
    ("名前", "名称"),
    ("および", "と"),
    ("例えば", "たとえば"),
    ("子ども", "子供"),
    ("下さい", "ください"),
    ("出来", "でき"),
    ("によって", "により"),
    ("において", "で"),
    ("における", "での"),
    ("に関する", "についての"),
    ("について", "に関して"),
    ("だけでなく", "のみならず"),
    ("ため、", "ので、"),
    ("しかし", "だが"),
)
POLITE = (
    "すみません、{}",
    "教えてください。{}",
    "{} よろしくお願いします。",
    "ちょっと聞きたいのですが、{}",
    "質問です。{}",
    "こんにちは。{}",
    "{} ありがとうございます。",
    "お尋ねします。{}",
)


def pool_of(texts: Sequence[str]) -> Pool:
    names = {name for text in texts for name in NAME.findall(text)}
    nouns = {noun for text in texts for noun in NOUN.findall(text)}
    return Pool(sorted(names), sorted(nouns))


def number(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(NUMBER, text, draw) or _one(KANJI_NUMBER, text, draw)
    if found is None:
        return None
    value = found.group()
    if value in KANJI:
        return _replace(text, found.span(), draw.choice([digit for digit in KANJI[1:9] if digit != value]))
    plain = value.translate(HALF)
    new = str(max(1, int(plain) + draw.choice([-2, -1, 1, 2, 10])))
    new = plain + "0" if len(plain) < 3 and draw.random() < 0.2 else new
    return None if new == plain else _replace(text, found.span(), new if plain == value else new.translate(FULL))


def name(text: str, draw: random.Random, pool: Pool) -> str | None:
    found = _one(NAME, text, draw)
    if found is None or len(pool.names) < 5:
        return None
    return _replace(text, found.span(), draw.choice([other for other in pool.names if other != found.group()]))


def noun(text: str, draw: random.Random, pool: Pool) -> str | None:
    found = _one(NOUN, text, draw)
    if found is None or len(pool.nouns) < 20:
        return None
    others = [other for other in draw.sample(pool.nouns, 20) if len(other) == len(found.group()) != found.group()]
    return _replace(text, found.span(), draw.choice(others)) if others else None


def negation(text: str, draw: random.Random, _pool: Pool) -> str | None:
    pairs = [*NEGATIONS, *((no, yes) for yes, no in NEGATIONS)]
    options = [(one, other) for one, other in pairs if one in text and (one + "か" not in text or "どう" in text)]
    if not options:
        return None
    longest = max(len(one) for one, _ in options)
    one, other = draw.choice([pair for pair in options if len(pair[0]) >= longest - 1])
    at = text.rindex(one)
    return text[:at] + other + text[at + len(one) :]


def alternative(text: str, draw: random.Random, _pool: Pool) -> str | None:
    options = []
    for words in ALTERNATIVES:
        row = words.split()
        for word in row:
            for found in re.finditer(word, text):
                around = text[max(0, found.start() - 1) : found.start()] + text[found.end() : found.end() + 1]
                if len(word) > 1 or not re.search(r"[一-龥]", around):
                    options.append((found.span(), [other for other in row if other != word]))
    if not options:
        return None
    span, others = draw.choice(options)
    return _replace(text, span, draw.choice(others))


def _antonyms() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for _, one, other in json.loads(LEXICON.read_text(encoding="utf-8"))["ja"]:
        sides = [tuple(word.strip() for word in re.split("[,、]", side)) for side in (one, other)]
        for own, opposite in (sides, sides[::-1]):
            for word in own:
                if len(word) > 1:
                    found.setdefault(word, opposite[:1])
    return found


ANTONYMS = _antonyms()
ANTONYM = re.compile(
    "(?<![ァ-ヴー])(?:" + "|".join(sorted(map(re.escape, ANTONYMS), key=len, reverse=True)) + ")(?![ァ-ヴー])"
)


def antonym(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(ANTONYM, text, draw)
    return found and _replace(text, found.span(), draw.choice(ANTONYMS[found.group()]))


def order(text: str, draw: random.Random, _pool: Pool) -> str | None:
    """Two names or nouns change places."""
    for pattern in draw.sample([THING, NUMBER, NAME], 3):
        found = list(pattern.finditer(text))
        if len(found) < 2:
            continue
        one, other = sorted(draw.sample(found, 2), key=lambda match: match.start())
        between = text[one.end() : other.start()]
        if one.group() == other.group() or between in ("と", "や", "、", "および", "・", "か", "または", "の"):
            continue
        return text[: one.start()] + other.group() + between + one.group() + text[other.end() :]
    return None


def direction(text: str, draw: random.Random, _pool: Pool) -> str | None:
    turned = {"から": "まで", "まで": "から", "へ": "から", "に対して": "から", "より": "ほど", "によって": "のために"}
    found = _one(re.compile("(?<=[一-龥ァ-ヴー])(から|まで|へ|に対して|より|によって)"), text, draw)
    return found and _replace(text, found.span(), turned[found.group()])


def question_word(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"いつ|どこ|誰|だれ|なぜ|どうして|どのように", text)
    return found and _replace(
        text, found.span(), draw.choice([word for word in QUESTION_WORDS if word != found.group()])
    )


def constraint(text: str, draw: random.Random, _pool: Pool) -> str | None:
    return draw.choice(CONSTRAINTS) + text


def scope(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(re.compile("(?<=[一-龥ァ-ヴー])[がをに]"), text, draw)
    return found and _replace(text, found.span(), draw.choice(("だけ", "以外", "以外の一部")) + found.group())


def cut(text: str, draw: random.Random, _pool: Pool) -> str | None:
    return text[: -draw.randint(3, max(4, len(text) // 3))] if len(text) > 14 else None


def dropped(text: str, draw: random.Random, _pool: Pool) -> str | None:
    """Without a noun that says which."""
    found = _one(re.compile("(?:[一-龥]{2,}|[ァ-ヴー]{2,}|[0-9]+年)(?:の|における|での|で)"), text, draw)
    return found and _replace(text, found.span(), "")


WRONG: dict[str, Change] = {
    "number": number,
    "name": name,
    "noun": noun,
    "negation": negation,
    "alternative": alternative,
    "antonym": antonym,
    "order": order,
    "direction": direction,
    "question": question_word,
    "constraint": constraint,
    "scope": scope,
    "cut": cut,
    "dropped": dropped,
}


def _exchanged(pairs: Sequence[tuple[str, str]], text: str, draw: random.Random) -> str | None:
    both = [*pairs, *((other, one) for one, other in pairs if len(other) > 1)]
    options = [(one, other) for one, other in both if one in text and not (len(other) > len(one) and other in text)]
    if not options:
        return None
    one, other = draw.choice(options)
    at = text.rindex(one)
    return text[:at] + other + text[at + len(one) :]


def ending(text: str, draw: random.Random, _pool: Pool) -> str | None:
    pairs = [*ENDINGS, *((other, one) for one, other in ENDINGS)]
    options = [(one, other) for one, other in pairs if text.endswith(one) or text[:-1].endswith(one)]
    if not options:
        return None
    one, other = draw.choice(options)
    at = text.rindex(one)
    return text[:at] + other + ("" if one[-1] in "。？" or other.endswith("さい") else text[at + len(one) :])


def synonym(text: str, draw: random.Random, _pool: Pool) -> str | None:
    return _exchanged(SYNONYMS, text, draw)


def polite(text: str, draw: random.Random, _pool: Pool) -> str | None:
    return draw.choice(POLITE).format(text)


def surface(text: str, draw: random.Random, _pool: Pool) -> str | None:
    options = [
        text.rstrip("。？?！"),
        text.replace("？", "?"),
        text.replace("、", ""),
        text.translate(FULL),
        text.translate(HALF),
    ]
    options += [text + "？"] if text.endswith("か") else []
    options = [new for new in options if new != text]
    return draw.choice(options) if options else None


def written_number(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(KANJI_NUMBER, text, draw)
    if found and (found.start() == 0 or text[found.start() - 1] not in KANJI):
        return _replace(text, found.span(), str(KANJI.index(found.group()) + 1))
    found = _one(re.compile(r"(?<![\d.])[2-9](?=[人つ個回本枚匹度階名])"), text, draw)
    return found and _replace(text, found.span(), KANJI[int(found.group()) - 1])


def conjuncts(text: str, _draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"([ァ-ヴー]{2,}|[一-龥]{2,4})(と|や)([ァ-ヴー]{2,}|[一-龥]{2,4})(?=[がをはにのもで])", text)
    return found and _replace(text, found.span(), f"{found[3]}{found[2]}{found[1]}")


def fronted(text: str, _draw: random.Random, _pool: Pool) -> str | None:
    """A time or place before the topic goes behind it, and back."""
    found = re.match(r"([0-9]+年(?:[0-9]+月)?(?:[0-9]+日)?(?:に)?)、?([^、。]{1,14}?[はが])", text)
    if found:
        return f"{found[2]}{found[1]}{text[found.end() :]}"
    found = re.match(
        r"([^、。]{1,14}?は)、?((?:[0-9]+年(?:[0-9]+月)?(?:[0-9]+日)?|昨日|今日|明日|去年|毎日|毎朝)に?)、?", text
    )
    return found and f"{found[2]}、{found[1]}{text[found.end() :]}"


RIGHT: dict[str, Change] = {
    "ending": ending,
    "synonym": synonym,
    "polite": polite,
    "surface": surface,
    "written_number": written_number,
    "conjuncts": conjuncts,
    "fronted": fronted,
}
