"""What of a text can be searched for, and where in it a query occurs. Pure.

Case, accents and the forms of characters do not count: "Muller" finds "Müller", "STRASSE" finds
"Straße". Chinese, Japanese, Korean, Thai and the like, whose words are not told apart by spaces
(or carry their endings), are taken character by character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from core.errors import InvalidInput

LONGEST_QUERY = 200
# Longer ones are looked up by their beginning.
_LONGEST_TERM = 40
# Rare terms tend to be long; these leave little for the texts to be looked through for.
_MOST_LOOKUPS = 8

# Thai, Lao, Tibetan, Burmese, Khmer; Hangul; kana; Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
    "\u3041-\u30ff\u31f0-\u31ff\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U000323af]"
)
# Of Latin, Greek, Cyrillic, Hebrew and Arabic: readers and writers leave them out.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")
# Letters that look like others with a stroke, but are not made of them.
_STROKES = str.maketrans(
    {
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "\u0131": "i",
        "ł": "l",
        "ø": "o",
        "ŧ": "t",
        "æ": "ae",
        "œ": "oe",
    }
)
_ASCII_WORD = re.compile("[A-Za-z0-9]+")
_QUOTED_OR_WORD = re.compile('["“”„]([^"“”„]*)|([^\\s"“”„]+)')


class Token(NamedTuple):
    """A word of a text, or a character of a script without spaces.

    Attributes:
        text: What it is compared by.
        start: Where it begins in the original text, in code points.
        end: Where it ends.
        is_unspaced: Whether it is such a character.
    """

    text: str
    start: int
    end: int
    is_unspaced: bool


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        parts: Each a sequence of token texts that has to occur without others in between.
        lookups: Terms that every text has in which all parts occur; other texts may have them too.
    """

    parts: tuple[tuple[str, ...], ...]
    lookups: tuple[str, ...]

    def find_in(self, text: str) -> list[tuple[int, int]]:
        """Return where in a text the parts occur, `[start, end)` in order; none unless all do."""
        tokens = list(tokenize(text))
        texts = [token.text for token in tokens]
        found: list[tuple[int, int]] = []
        for part in self.parts:
            places = list(_occurrences(texts, part))
            if not places:
                return []
            found += [(tokens[at].start, tokens[at + len(part) - 1].end) for at in places]
        return _joined(found)


def parse_query(text: str) -> Query:
    """Read what a person typed: words, and "phrases" in quotation marks.

    Raises:
        InvalidInput: There is nothing to search for (code `empty_query`), or it is too long (code
            `query_too_long`).
    """
    if len(text) > LONGEST_QUERY:
        raise InvalidInput(
            f"The query has {len(text)} characters. Use at most {LONGEST_QUERY}.",
            code="query_too_long",
        )
    parts: dict[tuple[str, ...], None] = {}
    lookups: dict[str, None] = {}
    for match in _QUOTED_OR_WORD.finditer(text):
        tokens = list(tokenize(match[1] or match[2] or ""))
        if tokens:
            parts[tuple(token.text for token in tokens)] = None
            lookups |= dict.fromkeys(_lookups(tokens))
    if not parts:
        raise InvalidInput(
            "There is nothing to search for. Name at least one word.", code="empty_query"
        )
    longest = sorted(lookups, key=len, reverse=True)
    return Query(tuple(parts), tuple(longest[:_MOST_LOOKUPS]))


def terms_of(text: str) -> set[str]:
    """Return everything that a text can be looked up by: words, single characters and pairs."""
    tokens = list(tokenize(text))
    return {_term(token.text) for token in tokens} | set(_pairs(tokens))


def tokenize(text: str) -> Iterator[Token]:
    """Yield a text's tokens in order. Whatever is no letter, digit or mark only separates."""
    if text.isascii():  # the same, ten times as fast
        for match in _ASCII_WORD.finditer(text):
            yield Token(match[0].lower(), match.start(), match.end(), is_unspaced=False)
        return
    word, begin, end = "", 0, 0
    for start, stop in _clusters(text):
        folded = _fold(text[start:stop])
        is_unspaced = bool(_UNSPACED.match(folded))
        if word and (not folded or is_unspaced):
            yield Token(word, begin, end, is_unspaced=False)
            word = ""
        if is_unspaced:
            yield Token(folded, start, stop, is_unspaced=True)
        elif folded:
            begin = begin if word else start
            word, end = word + folded, stop
    if word:
        yield Token(word, begin, end, is_unspaced=False)


def _lookups(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the terms by which a sequence of tokens is looked up: pairs are rarer than halves."""
    paired: set[int] = set()
    for at, (first, second) in enumerate(pairwise(tokens)):
        if first.is_unspaced and second.is_unspaced:
            paired |= {at, at + 1}
    yield from (_term(token.text) for at, token in enumerate(tokens) if at not in paired)
    yield from _pairs(tokens)


def _pairs(tokens: Sequence[Token]) -> Iterator[str]:
    for first, second in pairwise(tokens):
        if first.is_unspaced and second.is_unspaced:
            yield _term(first.text + second.text)


def _term(text: str) -> str:
    return text[:_LONGEST_TERM]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each character begins and ends, with the marks that belong to it."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not _extends(text[at]):
            yield start, at
            start = at


@lru_cache(maxsize=4096)
def _extends(char: str) -> bool:
    """Whether a character is part of the one before: a mark, a jamo, or a half-width voicing."""
    return unicodedata.category(char).startswith("M") or "\u1160" <= char <= "\u11ff" or char in "ﾞﾟ"


@lru_cache(maxsize=16384)
def _fold(cluster: str) -> str:
    """Return what a character is compared by; nothing for one that separates words."""
    plain = unicodedata.normalize("NFKC", cluster).casefold().translate(_STROKES)
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", plain))
    kept = "".join(
        char
        for char in unicodedata.normalize("NFC", bare)
        if char.isalnum() or unicodedata.category(char).startswith("M")
    )
    return kept if any(char.isalnum() for char in kept) else ""


def _occurrences(texts: Sequence[str], part: tuple[str, ...]) -> Iterator[int]:
    for at in range(len(texts) - len(part) + 1):
        if texts[at] == part[0] and tuple(texts[at : at + len(part)]) == part:
            yield at


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, with those made one that overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
