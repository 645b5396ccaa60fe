"""Pairs made of a real English sentence and a copy in which one thing was changed, with the label known.

``wrong`` changes what is asked (a number, a name, a negation, an order, ...); ``right`` changes only how.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LEXICON = Path(__file__).parents[2] / "src/yamabiko/core/data/antonyms.json"

NUMBER = re.compile(r"(?<![\w.,#/-])\d{1,6}(?![\w/-]|[.,]\d)")
NAME = re.compile(r"(?<=[a-z,;] )(?:[A-Z][\w'.-]*[a-z]\w*)(?: (?:[A-Z][\w'-]*))*")
ANYNAME = re.compile(r"\b[A-Z][\w'-]*[a-z]\w*(?: [A-Z][\w'-]*)*")
NOUN = re.compile(r"(?:(?<= the )|(?<= a )|(?<= an )|(?<= my )|(?<= of )|(?<= for )|(?<= with ))[a-z]{4,}(?=[ ?.,]|$)")

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
]
NUMERALS = {word: str(at) for at, word in enumerate(WORDS, 1)}

ALTERNATIVES = (
    ("January February March April June July August September October November December"),
    ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    ("first second third fourth fifth last"),
    ("yesterday today tomorrow"),
    ("morning afternoon evening"),
    ("before after during"),
    ("most least"),
    ("more fewer less"),
    ("highest lowest average"),
    ("largest smallest"),
    ("oldest youngest"),
    ("longest shortest"),
    ("above below"),
    ("over under"),
    ("inside outside"),
    ("minimum maximum"),
    ("at_least at_most exactly"),
    ("with without"),
    ("all some no"),
    ("every no"),
    ("always never sometimes"),
    ("both neither"),
    ("and or"),
    ("next previous"),
    ("earlier later"),
    ("daily weekly monthly yearly"),
    ("day week month year hour minute second decade century"),
    ("days weeks months years hours minutes seconds decades centuries"),
    ("kilometers miles meters feet inches centimeters"),
    ("kilograms pounds grams ounces"),
    ("dollars euros pounds yen"),
    ("km mi m cm"),
    ("kg lb g mg"),
    ("GB MB TB KB"),
    ("Celsius Fahrenheit"),
    ("north south east west"),
    ("northern southern eastern western"),
    ("man woman boy girl"),
    ("men women children"),
    ("he she they"),
    ("his her their"),
    ("him her them"),
    ("my your his her our their"),
    ("brother sister father mother son daughter"),
    ("red blue green yellow black white brown orange purple pink"),
    ("only also"),
    ("can should must"),
    ("will did"),
    ("start finish"),
    ("beginning end"),
    ("win lose"),
    ("won lost"),
    ("increase decrease"),
    ("increased decreased"),
    ("increases decreases"),
    ("enter leave"),
    ("teaches takes"),
    ("graduate undergraduate"),
    ("easy hard"),
    ("French German Spanish Italian Chinese Japanese Russian English"),
    ("France Germany Spain Italy China Japan Russia England India Brazil Canada"),
)
QUESTION_WORDS = ("who", "when", "where", "why", "how", "what")
CONSTRAINTS = (
    "for students",
    "on weekends",
    "in winter",
    "without an account",
    "for free",
    "online",
    "in Europe",
    "for children under 12",
    "before 1990",
    "at night",
    "except on Mondays",
    "on a phone",
    "for more than one person",
    "while abroad",
    "in the last year",
    "for beginners",
)
CONTRACTIONS = (
    ("is not", "isn't"),
    ("are not", "aren't"),
    ("was not", "wasn't"),
    ("were not", "weren't"),
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("cannot", "can't"),
    ("can not", "can't"),
    ("will not", "won't"),
    ("should not", "shouldn't"),
    ("could not", "couldn't"),
    ("have not", "haven't"),
    ("has not", "hasn't"),
    ("What is", "What's"),
    ("Where is", "Where's"),
    ("Who is", "Who's"),
    ("I am", "I'm"),
    ("it is", "it's"),
    ("It is", "It's"),
    ("he is", "he's"),
    ("they are", "they're"),
    ("I would", "I'd"),
    ("I have", "I've"),
    ("you are", "you're"),
    ("Let us", "Let's"),
)
SYNONYMS = (
    ("big", "large"),
    ("buy", "purchase"),
    ("begin", "start"),
    ("movie", "film"),
    ("kids", "children"),
    ("show me", "display"),
    ("list", "give me a list of"),
    ("how many", "what number of"),
    ("What kind of", "What type of"),
    ("what kind of", "which type of"),
    ("near", "close to"),
    ("also", "as well"),
    ("because of", "due to"),
    ("located in", "situated in"),
    ("about", "regarding"),
    ("get", "obtain"),
    ("help", "assist"),
    ("need", "require"),
    ("What was the name of", "How was the name of"),
    ("in what year", "which year"),
    ("In what year", "In which year"),
    ("phone", "telephone"),
    ("photos", "pictures"),
    ("fix", "repair"),
    ("autumn", "fall"),
    ("nearly", "almost"),
    ("each", "every"),
    ("currently", "at the moment"),
    ("e-mail", "email"),
    ("usually", "normally"),
    ("happen", "take place"),
    ("How do I", "How can I"),
    ("How can I", "What is the way to"),
    ("How do you", "How does one"),
    ("Find", "Look up"),
    ("Find the", "What is the"),
    ("Give me", "Show me"),
    ("Which", "What"),
)
POLITE = (
    "Please tell me: {}",
    "Can you tell me, {}",
    "Hi, {}",
    "Hello! {}",
    "Quick question: {}",
    "{} Thanks!",
    "{} Please help.",
    "I was wondering, {}",
    "I'd like to know: {}",
    "Excuse me, {}",
    "Hey, {}",
    "So, {}",
    "{} Thank you in advance.",
)


@dataclass
class Pool:
    """Names and nouns of one set, to put in the place of others."""

    names: list[str] = field(default_factory=list)
    nouns: list[str] = field(default_factory=list)


def pool_of(texts: Sequence[str]) -> Pool:
    names = {name for text in texts for name in NAME.findall(text)}
    nouns = {noun for text in texts for noun in NOUN.findall(text)}
    return Pool(sorted(names), sorted(nouns))


def _replace(text: str, span: tuple[int, int], new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def _one(pattern: re.Pattern[str], text: str, draw: random.Random) -> re.Match[str] | None:
    found = list(pattern.finditer(text))
    return draw.choice(found) if found else None


def number(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(NUMBER, text, draw)
    if found is None:
        return None
    value = found.group()
    if len(value) == 4 and value[:2] in ("18", "19", "20"):
        new = str(int(value) + draw.choice([-10, -2, -1, 1, 2, 10, 100]))
    else:
        near = [str(int(value) + step) for step in (-1, 1, 2, 10)] + [value + "0"]
        new = draw.choice(near + ([value[:-2] + value[-1] + value[-2]] if len(value) > 1 else []))
    return None if new == value or new.startswith("-") else _replace(text, found.span(), new)


def numeral(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(re.compile(r"\b(" + "|".join(WORDS[1:]) + r")\b"), text, draw)
    return found and _replace(text, found.span(), draw.choice([word for word in WORDS[1:] if word != found.group()]))


def name(text: str, draw: random.Random, pool: Pool) -> str | None:
    found = _one(NAME, text, draw)
    if found is None or len(pool.names) < 5:
        return None
    alike = [other for other in draw.sample(pool.names, min(40, len(pool.names))) if other != found.group()]
    alike.sort(key=lambda other: abs(len(other.split()) - len(found.group().split())))
    return _replace(text, found.span(), draw.choice(alike[:5]))


def noun(text: str, draw: random.Random, pool: Pool) -> str | None:
    found = _one(NOUN, text, draw)
    if found is None or len(pool.nouns) < 20:
        return None
    ending = found.group().endswith("s")
    others = [word for word in draw.sample(pool.nouns, min(60, len(pool.nouns))) if word.endswith("s") == ending]
    others = [word for word in others if word[:4] != found.group()[:4]]
    return _replace(text, found.span(), draw.choice(others)) if others else None


def negation(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"\b(is|are|was|were|can|could|should|will|would|does|do|did|has|have)\b( not|n't)?", text)
    if found is None:
        return None
    verb, negated = found.group(1), found.group(2)
    if negated:
        return _replace(text, found.span(), verb)
    if found.start() == 0 or (re.match(r"(?i)(who|what|when|where|why|how|which)\b", text) and found.end() < 20):
        return None if verb in ("has", "have") else _negated_question(text, found, draw)
    return _replace(text, found.span(), f"{verb} not")


def _negated_question(text: str, found: re.Match[str], draw: random.Random) -> str | None:
    """Not after the subject of a question: "How do I X" becomes "How do I not X"."""
    after = re.match(r" (I|you|we|they|he|she|it|people|one|someone|everyone) ", text[found.end() :])
    if after:
        at = found.end() + after.end()
        return text[:at] + "not " + text[at:]
    return (
        None if draw.random() < 0.5 else _replace(text, found.span(), f"{found.group(1)}n't".replace("cann't", "can't"))
    )


def alternative(text: str, draw: random.Random, _pool: Pool) -> str | None:
    options = []
    for words in ALTERNATIVES:
        row = [word.replace("_", " ") for word in words.split()]
        for word in row:
            others = [other for other in row if other != word]
            options += [(found.span(), others) for found in re.finditer(rf"\b{re.escape(word)}\b", text)]
    if not options:
        return None
    span, others = draw.choice(options)
    return _replace(text, span, draw.choice(others))


def _antonyms() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for _, one, other in json.loads(LEXICON.read_text(encoding="utf-8"))["en"]:
        sides = [tuple(word.strip().replace("_", " ") for word in side.split(",")) for side in (one, other)]
        for own, opposite in (sides, sides[::-1]):
            for word in own:
                found.setdefault(word, opposite[:2])
    return found


ANTONYMS = _antonyms()
ANTONYM = re.compile(r"\b(" + "|".join(sorted(map(re.escape, ANTONYMS), key=len, reverse=True)) + r")\b")


def antonym(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(ANTONYM, text, draw)
    return found and _replace(text, found.span(), draw.choice(ANTONYMS[found.group()]))


def order(text: str, draw: random.Random, _pool: Pool) -> str | None:
    """Two names, numbers or nouns change places."""
    for pattern in draw.sample([ANYNAME, NUMBER, NOUN], 3):
        found = [match for match in pattern.finditer(text) if match.start() > 0 or pattern is not ANYNAME]
        if len(found) < 2:
            continue
        one, other = sorted(draw.sample(found, 2), key=lambda match: match.start())
        between = text[one.end() : other.start()]
        if one.group().casefold() == other.group().casefold() or re.fullmatch(r",? (and|or) (the |a )?|, ", between):
            continue
        return text[: one.start()] + other.group() + between + one.group() + text[other.end() :]
    return None


def direction(text: str, _draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"\b(from|between) ([\w'-]+(?: [A-Z][\w'-]+)?) (to|into) ([\w'-]+(?: [A-Z][\w'-]+)?)", text)
    if found:
        return _replace(text, found.span(), f"{found[1]} {found[4]} {found[3]} {found[2]}")
    found = re.search(r"\b(?:to|from|than|by|of)\b", text)
    turned = {"to": "from", "from": "to", "by": "to"}
    return None if found is None or found.group() not in turned else _replace(text, found.span(), turned[found.group()])


def question_word(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"(?i)\b(who|when|where|why)\b|\bhow(?= (?:do|did|does|was|is|can)\b)", text)
    if found is None:
        return None
    new = draw.choice([word for word in QUESTION_WORDS[:5] if word != found.group().lower()])
    return _replace(text, found.span(), new.capitalize() if found.group()[0].isupper() else new)


def constraint(text: str, draw: random.Random, _pool: Pool) -> str | None:
    end = text[-1] if text[-1] in "?.!" else ""
    return f"{text[: len(text) - len(end)].rstrip()} {draw.choice(CONSTRAINTS)}{end}"


def only(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(re.compile(r"\b(?:the|in|for|with|to)\b"), text, draw)
    return found and _replace(text, found.span(), f"{draw.choice(('only', 'not only', 'except'))} {found.group()}")


def cut(text: str, draw: random.Random, _pool: Pool) -> str | None:
    words = text.split()
    return " ".join(words[: -draw.randint(1, max(1, len(words) // 3))]) if len(words) > 5 else None


def dropped(text: str, draw: random.Random, _pool: Pool) -> str | None:
    """Without a phrase that begins with a preposition."""
    found = _one(
        re.compile(r" (?:in|of|for|with|from|on|at|by|during|after|before) (?:the )?[\w'-]+(?: [A-Z][\w'-]+)*"),
        text,
        draw,
    )
    return found and _replace(text, found.span(), "")


Change = Callable[[str, random.Random, Pool], str | None]
WRONG: dict[str, Change] = {
    "number": number,
    "numeral": numeral,
    "name": name,
    "noun": noun,
    "negation": negation,
    "alternative": alternative,
    "antonym": antonym,
    "order": order,
    "direction": direction,
    "question": question_word,
    "constraint": constraint,
    "scope": only,
    "cut": cut,
    "dropped": dropped,
}


def contraction(text: str, draw: random.Random, _pool: Pool) -> str | None:
    options = [(long, short) for long, short in CONTRACTIONS if re.search(rf"\b{long}\b", text)]
    if options:
        long, short = draw.choice(options)
        return re.sub(rf"\b{long}\b", short, text, count=1)
    options = [(long, short) for long, short in CONTRACTIONS if short in text]
    if not options:
        return None
    long, short = draw.choice(options)
    return text.replace(short, long, 1)


def synonym(text: str, draw: random.Random, _pool: Pool) -> str | None:
    pairs = [*SYNONYMS, *((other, one) for one, other in SYNONYMS)]
    options = [(one, other) for one, other in pairs if re.search(rf"\b{one}\b", text)]
    if not options:
        return None
    one, other = draw.choice(options)
    return re.sub(rf"\b{one}\b", other, text, count=1)


def polite(text: str, draw: random.Random, _pool: Pool) -> str | None:
    frame = draw.choice(POLITE)
    own = text if frame.startswith("{}") or re.match(r"I\b|[A-Z][\w'-]*[A-Z]", text) else text[0].lower() + text[1:]
    return frame.format(own)


def surface(text: str, draw: random.Random, _pool: Pool) -> str | None:
    new = draw.choice([text.lower(), text.rstrip("?.! "), text.lower().rstrip("?.! "), text + " ", text.upper()])
    return new if new != text else None


def typo(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = _one(re.compile(r"\b[a-z]{6,}\b"), text, draw)
    if found is None:
        return None
    at = draw.randint(1, len(found.group()) - 3)
    word = found.group()
    mistakes = [
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    ]
    return _replace(text, found.span(), draw.choice(mistakes))


def written_number(text: str, draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(r"\b(" + "|".join(WORDS[1:]) + r")\b", text)
    if found:
        return _replace(text, found.span(), NUMERALS[found.group()])
    found = _one(NUMBER, text, draw)
    if found and 1 < int(found.group()) <= len(WORDS):
        return _replace(text, found.span(), WORDS[int(found.group()) - 1])
    found = re.search(r"\d(?=%)|\d(?= percent)", text)
    return found and (text.replace("%", " percent", 1) if "%" in text else text.replace(" percent", "%", 1))


def fronted(text: str, _draw: random.Random, _pool: Pool) -> str | None:
    """ "In 1990, he moved." and "He moved in 1990." """
    found = re.fullmatch(r"(In|On|At|During|After|Before|For) ([^,]{2,30}) ?, (\w)([^,?]{8,})([.?])", text)
    if found:
        return f"{found[3].upper()}{found[4].rstrip()} {found[1].lower()} {found[2].rstrip()}{found[5]}"
    found = re.fullmatch(r"([A-Z])(['\w ]{8,}) (in|on|at|during) ((?:the )?[\w ]{2,20})([.?])", text)
    if not found:
        return None
    first = (
        found[1]
        if re.match(r"I\b", text) or (NAME.match("a " + text, 2) and found[1] + found[2].split()[0] not in _STARTS)
        else found[1].lower()
    )
    return f"{found[3].capitalize()} {found[4]}, {first}{found[2]}{found[5]}"


_STARTS = frozenset(
    [
        "The",
        "A",
        "An",
        "He",
        "She",
        "It",
        "They",
        "We",
        "You",
        "His",
        "Her",
        "Their",
        "My",
        "What",
        "When",
        "Where",
        "Who",
        "How",
        "Which",
        "This",
        "That",
        "Is",
        "Are",
        "Was",
        "Did",
        "Do",
        "Does",
        "Can",
    ]
)


def conjuncts(text: str, _draw: random.Random, _pool: Pool) -> str | None:
    found = re.search(
        r"\b([A-Z][\w'-]+(?: [A-Z][\w'-]+)?|[a-z]{4,}) (and|or) ([A-Z][\w'-]+(?: [A-Z][\w'-]+)?|[a-z]{4,})(?=[ .,?]|$)",
        text,
    )
    if not found or found[1][0].isupper() != found[3][0].isupper() or found.start() == 0:
        return None
    before, after = text[: found.start()].split()[-1:], text[found.end() :].strip(" .?,")
    if found[1][0].islower() and (after or not before or before[0] not in ("the", "of", "for", "with", "like", "are")):
        return None
    return _replace(text, found.span(), f"{found[3]} {found[2]} {found[1]}")


RIGHT: dict[str, Change] = {
    "contraction": contraction,
    "synonym": synonym,
    "polite": polite,
    "surface": surface,
    "typo": typo,
    "written_number": written_number,
    "fronted": fronted,
    "conjuncts": conjuncts,
}
