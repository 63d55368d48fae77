"""Known speakers through the whole stack: the right names on words, and none for strangers.

The clips in tests/data/voices say what the sample's people do not say in the sample.
"""

from __future__ import annotations

import wave
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.accuracy import word_speaker_accuracy
from tests.conftest import ROOT, SAMPLE, Stack, wait_for_end

VOICES = ROOT / "tests" / "data" / "voices"
TASKS = "/api/v1/tasks"
PEOPLE = ["Laura", "Henry", "Nina"]  # in order of appearance


def upload(
    api: httpx.Client, recording: Path, *known: tuple[str, Path], **options: str
) -> httpx.Response:
    fields = {"diarize": "true", "known_speaker_names": [name for name, _ in known]} | options
    with ExitStack() as opened:
        files = [("file", recording), *(("known_speaker_clips", clip) for _, clip in known)]
        return api.post(
            f"{TASKS}/upload",
            data=fields,
            files=[(field, opened.enter_context(path.open("rb"))) for field, path in files],
        )


def voice(name: str) -> Path:
    return VOICES / f"{name.lower()}.opus"


def transcript(api: httpx.Client, answer: httpx.Response) -> dict:
    assert answer.status_code == 202, answer.text
    task = wait_for_end(api, answer.json()["id"], seconds=150)
    assert task["status"] == "completed"
    return api.get(f"{TASKS}/{task['id']}/result").raise_for_status().json()


@pytest.fixture(scope="module")
def uploaded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Transcripts with three known people, and with two of whom one does not speak."""
    # In these seconds of the sample, all three have spoken.
    recording = cut(SAMPLE, tmp_path_factory.mktemp("known") / "start.wav", 0, 55.4)
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        answers = [
            upload(api, recording, *((name, voice(name)) for name in PEOPLE[::-1])),
            upload(api, recording, ("Zed", voice("Stranger")), ("Nina", voice("Nina"))),
        ]
        return [transcript(api, answer) for answer in answers]


def test_people_have_their_names_on_every_word(uploaded: list[dict], sample_truth: dict) -> None:
    values = uploaded[0]
    assert [speaker["label"] for speaker in values["speakers"]] == PEOPLE
    for speaker in values["speakers"]:
        assert speaker["known"] is True
        assert 0.65 <= speaker["similarity"] <= 1
    names = {speaker["id"]: speaker["label"] for speaker in values["speakers"]}
    words = [word for segment in values["segments"] for word in segment["words"]]
    truth = [(turn["start"], turn["end"], turn["speaker"]) for turn in sample_truth["turns"]]
    right = sum(
        any(
            start <= (word["start"] + word["end"]) / 2 < end and who == names.get(word["speaker"])
            for start, end, who in truth
        )
        for word in words
    )
    assert right > 0.95 * len(words)
    assert word_speaker_accuracy(sample_truth["turns"], words) > 0.95


def test_a_strangers_name_goes_to_nobody(api: httpx.Client, uploaded: list[dict]) -> None:
    values = uploaded[1]
    speakers = values["speakers"]
    assert [speaker["label"] for speaker in speakers] == ["Unknown 1", "Unknown 2", "Nina"]
    assert [speaker["known"] for speaker in speakers] == [False, False, True]
    assert all(speaker["similarity"] < 0.65 for speaker in speakers[:2])
    address = f"{TASKS}/{values['job_id']}/result"
    text = api.get(address, params={"format": "txt"}).text
    assert text.startswith("Unknown 1: Good morning everyone.")
    assert "\nNina: " in text
    assert "Zed" not in text


def test_looking_again_finds_them_again_and_given_names_win(
    api: httpx.Client, stack: Stack, tmp_path: Path
) -> None:
    """By clips of the recording itself, which here is its first half minute."""
    start = cut(SAMPLE, tmp_path / "start.wav", 0, 30)
    clip = cut(SAMPLE, tmp_path / "laura.wav", 3.6, 9.5)
    before = transcript(api, upload(api, start, ("Laura", clip)))
    assert before["speakers"][0]["label"] == "Laura"
    task = f"{TASKS}/{before['job_id']}"

    again = api.post(f"{task}/rediarize", json={"num_speakers": 2})
    after = transcript(api, again)

    assert [speaker["label"] for speaker in after["speakers"]] == ["Laura", "Unknown 1"]
    other = after["speakers"][1]["id"]
    named = api.patch(f"{task}/speakers", json={"SPEAKER_00": "Lo", other: "Harry"})
    shown = [(s["label"], s["known"]) for s in named.json()["speakers"]]
    assert shown == [("Lo", True), ("Harry", False)]
    back = api.patch(f"{task}/speakers", json={"SPEAKER_00": None}).json()["speakers"]
    assert [speaker["label"] for speaker in back] == ["Laura", "Harry"]
    options = api.get(f"{task}/metadata").json()["options"]
    assert options["known_speakers"] == ["Laura"]


def test_the_command_line_takes_them(stack: Stack, short_wav: Path, tmp_path: Path) -> None:
    clip = cut(SAMPLE, tmp_path / "a=b.wav", 10.5, 16)
    arguments = ["--known-speaker", f"Laura={voice('Laura')}", "--known-speaker", f"Henry={clip}"]
    ran = stack.command("transcribe", str(short_wav), "--diarize", *arguments)
    assert ran.stdout.startswith("Laura: Good morning everyone.")


@pytest.mark.parametrize(
    ("value", "reason"),
    [("Laura", "Laura=laura.wav"), ("=a.wav", "Laura=laura.wav"), ("Laura=nowhere", "not exist")],
)
def test_the_command_line_refuses_what_is_no_clip(short_wav: Path, value: str, reason: str) -> None:
    from click.testing import CliRunner

    from internal.cli.transcribe import transcribe

    ran = CliRunner().invoke(transcribe, [str(short_wav), f"--known-speaker={value}"])
    assert ran.exit_code == 2
    assert reason in ran.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("known", "options", "code", "told"),
    [
        ([("Laura", "laura"), ("Bo", "voices.txt")], {}, "invalid_known_speaker_clip", "'Bo'"),
        ([("Laura", "laura")], {"diarize": "false"}, "invalid_known_speakers", "diarize=true"),
        ([("Laura", "laura")] * 2, {}, "invalid_known_speakers", "'Laura'"),
        ([("A\nB", "laura")], {}, "invalid_known_speakers", "speaker 1"),
        ([("Laura", "laura")], {"known_speaker_names": []}, "invalid_known_speakers", "1 known_"),
        ([("Laura", "laura")] * 17, {}, "invalid_option", "known_speaker"),
        ([], {"known_speaker_clips": "text"}, "invalid_option", "`known_speaker_clips`"),
    ],
    ids=["a bad clip", "no diarization", "twice", "a bad name", "no name", "too many", "no file"],
)
def test_what_cannot_be_used_is_refused_and_leaves_nothing(
    api: httpx.Client,
    stack: Stack,
    short_wav: Path,
    known: list[tuple[str, str]],
    options: dict,
    code: str,
    told: str,
) -> None:
    before = stored(stack, api)
    clips = [(name, VOICES / file if "." in file else voice(file)) for name, file in known]
    answer = upload(api, short_wav, *clips, **options)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code
    assert told in answer.json()["message"]
    assert stored(stack, api) == before


def stored(stack: Stack, api: httpx.Client) -> tuple[list[str], list[Path]]:
    """The newest tasks, and all objects in a folder."""
    tasks = [task["id"] for task in api.get(TASKS, params={"limit": 20}).json()["tasks"]]
    return tasks, sorted((stack.data_dir / "objects").glob("jobs/*/*"))


def cut(recording: Path, path: Path, start: float, end: float) -> Path:
    """Write a stretch of a WAV."""
    with wave.open(str(recording)) as source, wave.open(str(path), "wb") as out:
        out.setparams(source.getparams())
        source.setpos(round(start * source.getframerate()))
        out.writeframes(source.readframes(round((end - start) * source.getframerate())))
    return path
