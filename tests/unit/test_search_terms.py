"""What a text can be searched for."""

# ruff: noqa: RUF001 - letters that look like others are what is looked at

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from services.search_terms import LONGEST_QUERY, parse_query, terms_of, tokenize

# Letters with and without accents, scripts without spaces, marks on their own, and odd forms.
TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("aeß ÄİŁﬁ½’'\"-“_5 会议はガ한ไก่हिन्दी\u0301\u3099ﾞ\u200d\n"),
    ),
    max_size=60,
)


def found(query: str, text: str) -> list[str]:
    """What of a text a query finds."""
    return [text[start:end] for start, end in parse_query(query).find_in(text)]


@pytest.mark.parametrize(
    ("query", "text", "matches"),
    [
        ("muller", "Frau Müller kommt.", ["Müller"]),
        ("MÜLLER", "Frau Mu\u0308ller kommt.", ["Mu\u0308ller"]),
        ("strasse", "Die Straße", ["Straße"]),
        ("lodz", "do Łodzi, Łódź!", ["Łódź"]),
        ("istanbul", "İSTANBUL", ["İSTANBUL"]),
        ("elaborate", "ELABORATE fi", ["ELABORATE"]),
        ("file", "the ﬁle", ["ﬁle"]),
        ("abc", "ＡＢＣ", ["ＡＢＣ"]),
        ("Ελλάδα", "ελλαδα", ["ελλαδα"]),
        ("семен", "Семён", ["Семён"]),
        ("homme", "l’homme", ["homme"]),
        ("john's", "John’s car", ["John’s"]),
        ("follow-up", "a follow up, a follow-up", ["follow up", "follow-up"]),
        ("3.5", "from 3.5 to 5.3", ["3.5"]),
        ("हिन्दी", "वह हिन्दी है", ["हिन्दी"]),
    ],
)
def test_forms_of_characters_do_not_count(query, text, matches):
    assert found(query, text) == matches


@pytest.mark.parametrize(
    ("query", "text", "matches"),
    [
        ("会议", "明天的会议记录", ["会议"]),
        ("会", "明天的会议", ["会"]),
        ("会 明天", "明天的会议", ["明天", "会"]),
        ("会議", "会 議", ["会 議"]),
        ("議会", "会議", []),
        ("コーヒー", "ホットコーヒーを", ["コーヒー"]),
        ("ｺｰﾋｰ", "ホットコーヒーを", ["コーヒー"]),
        ("かき", "かぎ", []),
        ("회의", "회의를 합니다", ["회의"]),
        ("iPhone手机", "新的 iPhone 手机", ["iPhone 手机"]),
        ("ไก่", "ข้าวมันไก่", ["ไก่"]),
    ],
)
def test_scripts_without_spaces_are_found_by_their_characters(query, text, matches):
    assert found(query, text) == matches


@pytest.mark.parametrize(
    ("query", "text", "matches"),
    [
        ("budget meeting", "The meeting on the budget.", ["meeting", "budget"]),
        ("budget meeting", "The meeting.", []),
        ("meet", "The meeting.", []),
        ('"the budget"', "The meeting, the budget.", ["the budget"]),
        ('"budget the"', "The budget.", []),
        ('"the budget', "The budget.", ["The budget"]),
        ("“the budget” new", "New: the budget.", ["New", "the budget"]),
        ("the the", "The cat and the dog", ["The", "the"]),
        ('"new york" york', "New York", ["New York"]),
        ('"ha ha"', "Ha ha ha!", ["Ha ha ha"]),
    ],
)
def test_all_words_and_phrases_have_to_occur(query, text, matches):
    assert found(query, text) == matches


@pytest.mark.parametrize("query", ["", "  ", '"', '""', "?!", "—", "\u0301", "\x00", '" - "'])
def test_queries_without_words_are_refused(query):
    with pytest.raises(InvalidInput) as refused:
        parse_query(query)
    assert refused.value.error_code == "empty_query"


def test_long_queries_are_refused():
    assert parse_query("a" * LONGEST_QUERY).parts
    with pytest.raises(InvalidInput) as refused:
        parse_query("a" * (LONGEST_QUERY + 1))
    assert refused.value.error_code == "query_too_long"


@given(TEXTS)
def test_every_word_of_a_text_finds_it(text):
    terms = terms_of(text)
    for word in text.split():
        if not list(tokenize(word.replace('"', " "))) or len(word) > LONGEST_QUERY:
            continue
        query = parse_query(word)
        assert query.find_in(text), word
        assert set(query.lookups) <= terms, word


@given(TEXTS)
def test_a_text_finds_itself_as_a_phrase(text):
    phrase = text.translate({ord(quote): " " for quote in '"“”„'})
    tokens = list(tokenize(phrase))
    if tokens:
        query = parse_query(f'"{phrase}"')
        assert query.find_in(phrase) == [(tokens[0].start, tokens[-1].end)]
        assert set(query.lookups) <= terms_of(phrase)


@given(TEXTS, TEXTS)
def test_matches_are_in_order_and_inside_the_text(query, text):
    if list(tokenize(query.replace('"', " "))):
        edges = [edge for match in parse_query(query).find_in(text) for edge in match]
        assert edges == sorted(edges)
        assert all(0 <= edge <= len(text) for edge in edges)
        assert all(start < end for start, end in zip(edges[::2], edges[1::2], strict=True))


@given(TEXTS)
def test_composed_and_decomposed_texts_are_looked_up_alike(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert terms_of(composed) == terms_of(decomposed)


@given(st.text(st.characters(codec="ascii")))
def test_plain_text_has_the_same_words_beside_other_text(text):
    assert list(tokenize(text)) == list(tokenize(f"{text} é"))[:-1]


def test_tokens_cover_every_letter_once():
    text = "Das — ist's, 会议! Ünï"
    tokens = list(tokenize(text))
    assert [text[token.start : token.end] for token in tokens] == [
        "Das", "ist", "s", "会", "议", "Ünï",
    ]  # fmt: skip
    assert [token.is_unspaced for token in tokens] == [False, False, False, True, True, False]


def test_long_words_are_looked_up_by_their_beginning():
    word = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"
    (term,) = parse_query(word).lookups
    assert term in terms_of(f"das {word}")
    assert len(term) < len(word)
    assert found(word, f"das {word}") == [word]
    assert found(word, f"das {word}e") == []


def test_characters_are_looked_up_in_pairs():
    assert set(parse_query("会议记录 ok").lookups) == {"会议", "议记", "记录", "ok"}
    assert parse_query("会").lookups == ("会",)


def test_no_more_terms_are_looked_up_than_help():
    query = parse_query(" ".join(f"{'x' * size}" for size in range(1, 18)))
    assert len(query.parts) == 17
    assert len(query.lookups) == 8
    assert min(map(len, query.lookups)) == 10
