"""What is found in which transcripts."""

from __future__ import annotations

import random

import pytest

from core.errors import InvalidInput
from repositories.models import JobStatus, Stage
from services import search_walk
from services.search_terms import tokenize
from tests.services.transcripts import MINUTE, NOON, counts, found, places, transcribed


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"_FEW_TASKS": 2, "_MANY_TASKS": 3, "_FEW_TEXTS": 1, "_MANY_TEXTS": 2}
    for name, size in steps.items():
        monkeypatch.setattr(search_walk, name, size)


async def test_hits_have_everything(parts):
    texts = ["Good morning.", "The budget, Frau Müller, is a BUDGET."]
    await transcribed(
        parts, "a", texts, speakers=["SPEAKER_00", "SPEAKER_01"],
        speaker_names={"SPEAKER_01": "Laura"},
    )  # fmt: skip
    (hit,) = await found(parts, "muller budget")
    assert (hit.job.id, hit.number) == ("a", 1)
    assert (hit.segment.start, hit.segment.end, hit.segment.text) == (1.0, 1.5, texts[1])
    assert (hit.segment.speaker, hit.label) == ("SPEAKER_01", "Laura")
    assert [texts[1][start:end] for start, end in hit.matches] == ["budget", "Müller", "BUDGET"]
    assert (await found(parts, "morning"))[0].label == "Speaker 0"


async def test_all_words_have_to_be_in_one_segment(parts):
    await transcribed(parts, "a", ["the red house", "the blue house", "red and blue"])
    assert places(await found(parts, "house")) == [("a", 0), ("a", 1)]
    assert places(await found(parts, "blue red")) == [("a", 2)]
    assert places(await found(parts, "red house")) == [("a", 0)]
    assert await found(parts, "red house nowhere") == []
    assert places(await found(parts, '"the blue"')) == [("a", 1)]
    assert await found(parts, '"blue the"') == []


async def test_newest_tasks_come_first_and_their_segments_in_order(parts):
    await transcribed(parts, "b", ["yes", "no", "yes"])
    await transcribed(parts, "a", ["no", "yes"])
    await transcribed(parts, "c", ["yes"] * 5, created_at=NOON - MINUTE)
    await transcribed(parts, "d", ["yes"], created_at=NOON + MINUTE)
    expected = [("d", 0), ("b", 0), ("b", 2), ("a", 1), *(("c", number) for number in range(5))]
    assert places(await found(parts, "yes")) == expected


async def test_pages_are_stable_while_tasks_are_added_and_deleted(parts):
    for minute in range(4):
        await transcribed(parts, f"{minute}", ["yes", "yes"], created_at=NOON + minute * MINUTE)
    first = await parts.search.search("ann", "yes", limit=3)
    assert places(first.hits) == [("3", 0), ("3", 1), ("2", 0)]
    await transcribed(parts, "late", ["yes"], created_at=NOON + 60 * MINUTE)
    second = await parts.search.search("ann", "yes", limit=2, cursor=first.next_cursor)
    assert places(second.hits) == [("2", 1), ("1", 0)]
    await parts.tasks.delete_task("ann", "1")  # which the cursor names
    third = await parts.search.search("ann", "yes", limit=2, cursor=second.next_cursor)
    assert places(third.hits) == [("0", 0), ("0", 1)]
    assert third.next_cursor is None


async def test_it_finds_what_looking_at_every_segment_finds(parts, monkeypatch):
    """On small steps, so that there are many, and with common words beside rare ones."""
    small_steps(monkeypatch)
    dice = random.Random(7)
    words = ["a"] * 12 + ["b"] * 8 + ["c"] * 5 + list("def")
    texts = {
        f"{number:02}": [" ".join(dice.choices(words, k=4)) for _ in range(dice.randrange(1, 6))]
        for number in range(20)
    }
    for number, (job_id, said) in enumerate(texts.items()):
        await transcribed(parts, job_id, said, created_at=NOON + number // 2 * MINUTE)
    for query in ("a", "b a", "f a b", "d e", '"a b"', '"b a" c', "a a", "e"):
        wanted = [part.split() for part in query.replace('"', "|").split("|") if part.strip()]
        phrases = wanted if '"' in query else []
        expected = [
            (job_id, number)
            for job_id in sorted(texts, reverse=True)
            for number, text in enumerate(texts[job_id])
            if set(query.replace('"', "").split()) <= set(text.split())
            and all(f" {' '.join(phrase)} " in f" {text} " for phrase in phrases)
        ]
        assert places(await found(parts, query)) == expected, query


async def test_a_page_ends_where_too_much_had_to_be_looked_at(parts, monkeypatch):
    small_steps(monkeypatch)
    for limit in ("_MOST_TEXTS", "_MOST_TASKS"):
        monkeypatch.setattr(search_walk, limit, 4)
    for number in range(9):
        said = ["b a", "b a", "b a"] if number else ["b a", "a b"]
        await transcribed(parts, f"{number}", said, created_at=NOON + number * MINUTE)
    first = await parts.search.search("ann", '"a b"', limit=5)
    assert first.hits == []
    assert first.next_cursor is not None
    assert places(await found(parts, '"a b"')) == [("0", 1)]


async def test_owners_find_their_own(parts):
    await transcribed(parts, "a", ["the secret"])
    await transcribed(parts, "b", ["the secret"], owner="bob")
    assert places(await found(parts, "secret")) == [("a", 0)]
    assert places(await found(parts, "secret", "bob")) == [("b", 0)]
    assert await found(parts, "secret", "cy") == []
    assert await found(parts, "secret", task_id="b") == []


async def test_filters(parts):
    speakers = ["SPEAKER_00", "SPEAKER_01"]
    await transcribed(
        parts, "a", ["ja", "ja", "nein"], language="de", name="Gespräch.wav", speakers=speakers,
        speaker_names={"SPEAKER_01": "Jürgen"},
    )  # fmt: skip
    await transcribed(parts, "b", ["ja"], name="talk.mp3", created_at=NOON + MINUTE)
    for where, expected in [
        ({}, [("b", 0), ("a", 0), ("a", 1)]),
        ({"language": "de"}, [("a", 0), ("a", 1)]),
        ({"language": "fr"}, []),
        ({"task_id": "a"}, [("a", 0), ("a", 1)]),
        ({"task_id": "nope"}, []),
        ({"task_id": "a", "language": "en"}, []),
        ({"speaker": "SPEAKER_00"}, [("a", 0)]),
        ({"speaker": "speaker 0"}, [("a", 0)]),
        ({"speaker": "JÜRGEN"}, [("a", 1)]),
        ({"speaker": "Speaker 1"}, []),
        ({"file_name": "GESPRÄCH"}, [("a", 0), ("a", 1)]),
        ({"file_name": ".*"}, []),
        ({"created_after": NOON + MINUTE}, [("b", 0)]),
        ({"created_before": NOON + MINUTE}, [("a", 0), ("a", 1)]),
        ({"created_before": NOON + MINUTE, "created_after": NOON + MINUTE}, []),
        ({"task_id": "a", "created_after": NOON + MINUTE}, []),
    ]:
        assert places(await found(parts, "ja", **where)) == expected, where


async def test_within_one_task_all_words_count_and_pages_go_on(parts):
    await transcribed(parts, "a", ["red house"] * 7 + ["red", "house"])
    await transcribed(parts, "b", ["red house"])
    hits = await found(parts, "house red", task_id="a")
    assert places(hits) == [("a", number) for number in range(7)]


async def test_names_are_those_of_now(parts):
    await transcribed(parts, "a", ["yes"], speakers=["SPEAKER_00"])
    await parts.speakers.name_speakers("ann", "a", {"SPEAKER_00": "Ann"})
    assert [hit.label for hit in await found(parts, "yes", speaker="ann")] == ["Ann"]
    await parts.speakers.name_speakers("ann", "a", {"SPEAKER_00": None})
    assert [hit.label for hit in await found(parts, "yes")] == ["Speaker 0"]


async def test_a_task_that_is_worked_on_again_is_found(parts):
    await transcribed(parts, "a", ["one"], status=JobStatus.PROCESSING, stage=Stage.DIARIZE)
    assert places(await found(parts, "one")) == [("a", 0)]


async def test_an_empty_transcript(parts):
    await transcribed(parts, "a", [])
    assert await counts(parts) == (0, 0)
    assert (await parts.jobs.get_job("a")).indexed == "v1"


async def test_long_transcripts_are_found_to_their_end(parts):
    texts = [f"word number{at}" for at in range(130)]
    await transcribed(parts, "a", texts)
    assert places(await found(parts, "word")) == [("a", at) for at in range(130)]
    assert places(await found(parts, "number129 word")) == [("a", 129)]


async def test_other_scripts(parts):
    await transcribed(parts, "a", ["明天的会议记录", "ข้าวมันไก่", "會議 🎙 ok"])
    for query, expected in [("会议", 0), ("录", 0), ("ไก่", 1), ("會議", 2), ("OK", 2)]:
        (hit,) = await found(parts, query)
        assert hit.number == expected
        ((start, end),) = hit.matches
        assert hit.segment.text[start:end].casefold() == query.casefold()


@pytest.mark.parametrize(
    "cursor", ["", "x", "/", "1/2", f"{'1' * 15}.a/x", f"{'1' * 15}.a", f"{'1' * 15}./1/2"]
)
async def test_foreign_cursors_are_refused(parts, cursor):
    with pytest.raises(InvalidInput) as refused:
        await parts.search.search("ann", "x", limit=1, cursor=cursor)
    assert refused.value.error_code == "invalid_cursor"


async def test_every_word_of_the_sample_finds_its_segment(parts, sample_truth):
    texts = [line["text"] for line in sample_truth["turns"]]
    await transcribed(parts, "a", texts)
    for number, text in enumerate(texts):
        for word in {token.text for token in tokenize(text)}:
            assert ("a", number) in places(await found(parts, word)), word
