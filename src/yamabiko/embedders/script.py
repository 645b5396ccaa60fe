"""Which writing a text is in: pure, and fast enough for every look-up.

Letters decide; digits, punctuation and symbols belong to no script.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Script: TypeAlias = Literal["latin", "multilingual", "unknown"]

_MULTILINGUAL = (
    "\u0400-\u052f\u1c80-\u1c8f"  # Cyrillic
    "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefe"  # Arabic
    "\u0e00-\u0e7f"  # Thai
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3021-\u3029\u3041-\u312f\u31f0-\u31ff\uff66-\uff9f"  # kana and bopomofo, half-width too
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"

_IS_MULTILINGUAL = re.compile(f"[{_MULTILINGUAL}]")
_IS_LATIN = re.compile(f"[{_LATIN}]")
_IS_LETTER = re.compile(r"[^\W\d_]")


def script_of(text: str) -> Script:
    """The script that decides which model embeds ``text``.

    ``multilingual``: any letter in Arabic, Cyrillic, Hangul, Han, kana or Thai, however many Latin product names
    stand around it. ``unknown``: no such letter, and more letters of other scripts than Latin ones. ``latin``: the
    rest, texts without any letter included.
    """
    if text.isascii():
        return "latin"
    if _IS_MULTILINGUAL.search(text):
        return "multilingual"
    latin = len(_IS_LATIN.findall(text))
    other = len(_IS_LETTER.findall(text)) - latin
    return "unknown" if other > latin else "latin"
