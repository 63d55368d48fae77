"""Uploads of every kind: what is accepted, what is refused and why, and the normal form."""

import stat
import subprocess
import sys
import wave
from functools import cache, partial
from pathlib import Path

import pytest

from worker.errors import EngineFailed, EngineMissing, InvalidAudio
from worker.media import BYTES_PER_SECOND, WAV_HEADER_BYTES, find_ffmpeg, normalise, probe

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "meeting.wav"
SECONDS = 15.0
HOUR = 3600.0

COVER = ["-f", "lavfi", "-i", "color=red:size=64x64:rate=0.1:duration=10"]
COVER += ["-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic"]
VIDEO = ["-f", "lavfi", "-i", "color=navy:size=64x64:rate=5:duration=15"]
VIDEO += ["-map", "0", "-map", "1", "-c:v"]

# Arguments after the sample's `-i`; the last is the file's name.
CORPUS = {
    "wav": ["a.wav"],
    "wav 8-bit stereo": ["-ac", "2", "-c:a", "pcm_u8", "a.wav"],
    "wav float 48 kHz": ["-ar", "48000", "-c:a", "pcm_f32le", "a.wav"],
    "mp3": ["a.mp3"],
    "mp3 without xing": ["-write_xing", "0", "-id3v2_version", "0", "a.mp3"],
    "mp3 with cover": [*COVER, "a.mp3"],
    "m4a": ["a.m4a"],
    "m4a faststart": ["-movflags", "+faststart", "a.m4a"],
    "m4a fragmented": [
        "-movflags",
        "+frag_keyframe+empty_moov",
        "-frag_duration",
        "2000000",
        "a.m4a",
    ],
    "m4a with cover": [*COVER, "a.m4a"],
    "ogg": ["-c:a", "libvorbis", "a.ogg"],
    "opus": ["-c:a", "libopus", "a.opus"],
    "flac": ["a.flac"],
    "webm": ["-c:a", "libopus", "a.webm"],
    "webm live": ["-c:a", "libopus", "-f", "webm", "-live", "1", "a.webm"],
    "aac": ["a.aac"],
    "aiff": ["a.aiff"],
    "wma": ["-c:a", "wmav2", "a.wma"],
    "mka": ["-c:a", "libvorbis", "a.mka"],
    "mp4 video": [*VIDEO, "mpeg4", "-c:a", "aac", "a.mp4"],
    "mov with timecode": [*VIDEO, "mpeg4", "-timecode", "00:00:00:00", "-c:a", "aac", "a.mov"],
    "misleading title": ["-metadata", "title=Duration: 99:00:00.00", "a.m4a"],
    "webm video": [*VIDEO, "libvpx", "-b:v", "50k", "-c:a", "libopus", "a.webm"],
}
NO_DURATION = {"mp3 without xing", "aac", "webm live"}
# Do not say at their start how long they are: what is cut off them cannot be noticed.
OPEN_ENDED = {"mp3 without xing", "ogg", "opus", "aac", "wma", "m4a fragmented", "webm live"}
FFMPEG = find_ffmpeg()


def ffmpeg(folder, *arguments):
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments], check=True, cwd=folder)
    return folder / arguments[-1]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Makes the file of a name in `CORPUS`, once."""

    @cache
    def make(name):
        folder = tmp_path_factory.mktemp("media")
        return ffmpeg(folder, "-t", str(SECONDS), "-i", str(SAMPLE), *CORPUS[name])

    return make


def near(seconds, expected):
    return abs(seconds - expected) <= 0.5


async def probed(path, max_seconds=HOUR):
    with path.open("rb") as source:
        return await probe(FFMPEG, source, max_seconds=max_seconds)


async def normalised(path, target, *, max_seconds=HOUR, declared=None):
    with path.open("rb") as source:
        return await normalise(FFMPEG, source, target, max_seconds=max_seconds, declared=declared)


async def refusal(path, max_seconds=HOUR):
    with pytest.raises(InvalidAudio) as caught:
        await probed(path, max_seconds)
    assert not caught.value.retryable
    return caught.value.error_code


def cut_off(path, target, share=0.6):
    content = path.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


@pytest.mark.parametrize("name", CORPUS)
async def test_accepted(corpus, tmp_path, name):
    path = corpus(name)
    info = await probed(path)
    assert info.duration is None if name in NO_DURATION else near(info.duration, SECONDS)
    audio = await normalised(path, tmp_path / "normal.wav", declared=info.duration)
    assert near(audio.duration, SECONDS)
    assert audio.missing_seconds == 0


@pytest.mark.parametrize("name", CORPUS.keys() - OPEN_ENDED)
async def test_what_was_cut_off_is_refused(corpus, tmp_path, name):
    assert await refusal(cut_off(corpus(name), tmp_path / "cut")) == "truncated_audio"


@pytest.mark.parametrize("name", OPEN_ENDED)
async def test_what_never_said_how_long_it_is_may_be_shorter(corpus, tmp_path, name):
    path = cut_off(corpus(name), tmp_path / "cut")
    info = await probed(path)
    audio = await normalised(path, tmp_path / "normal.wav", declared=info.duration)
    assert 0.5 * SECONDS < audio.duration < 0.75 * SECONDS
    assert audio.missing_seconds == 0


@pytest.mark.parametrize("share", [1, 0.6])
async def test_a_wav_written_to_a_pipe(corpus, tmp_path, share):
    command = [FFMPEG, "-v", "error", "-i", str(corpus("mp3")), "-f", "wav", "-"]
    streamed = subprocess.run(command, check=True, capture_output=True).stdout
    assert streamed[4:8] == b"\xff" * 4
    path = tmp_path / "streamed.wav"
    path.write_bytes(streamed[: int(len(streamed) * share)])
    info = await probed(path)
    audio = await normalised(path, tmp_path / "normal.wav", declared=info.duration)
    assert near(audio.duration, SECONDS * share)
    assert audio.missing_seconds == 0


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.wav", b"", "empty_file"),
        ("text.mp3", b"Dear diary, today I recorded nothing at all.\n" * 50, "unsupported_media"),
        ("program.wav", Path(sys.executable).read_bytes()[:100_000], "unsupported_media"),
        ("playlist.mp3", b"#EXTM3U\n#EXT-X-TARGETDURATION:15\n#EXTINF:15,\n%s\n#EXT-X-ENDLIST\n",
         "unsupported_media"),
        ("concat.mp3", b"ffconcat version 1.0\nfile '%s'\n", "unsupported_media"),
    ],
)  # fmt: skip
async def test_what_is_no_recording_is_refused(corpus, tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content.replace(b"%s", str(corpus("wav")).encode()))
    assert await refusal(path) == code
    with pytest.raises(InvalidAudio):
        await normalised(path, tmp_path / "normal.wav")


@pytest.mark.parametrize("name", ["a.avi", "a.caf", "a.ts"])
async def test_only_containers_of_the_list_are_opened(tmp_path, name):
    path = ffmpeg(tmp_path, "-t", "3", "-i", str(SAMPLE), "-c:a", "libmp3lame", name)
    assert await refusal(path) == "unsupported_media"


async def test_a_film_whose_sound_ends_first_is_not_cut_off(tmp_path):
    film = ffmpeg(tmp_path, "-t", "5", "-i", str(SAMPLE), *VIDEO, "mpeg4", "a.mp4")
    declared = (await probed(film)).duration
    assert near(declared, SECONDS)
    audio = await normalised(film, tmp_path / "normal.wav", declared=declared)
    assert near(audio.duration, 5)
    assert audio.missing_seconds == 0


async def test_a_film_without_sound_is_refused(tmp_path):
    film = ffmpeg(tmp_path, "-f", "lavfi", "-i", "color=navy:size=64x64:duration=3", "a.mp4")
    assert await refusal(film) == "no_audio"


async def test_too_long_by_its_headers(corpus):
    with pytest.raises(InvalidAudio) as caught:
        await probed(corpus("m4a"), max_seconds=10)
    assert caught.value.error_code == "audio_too_long"
    assert caught.value.details["max_duration_seconds"] == 10


async def test_hours_of_silence_in_a_small_file_are_not_decoded(tmp_path):
    silence = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200"]
    path = ffmpeg(tmp_path, *silence, "-compression_level", "0", "a.flac")
    assert path.stat().st_size < 1_000_000
    target = tmp_path / "normal.wav"
    with pytest.raises(InvalidAudio) as caught:
        await normalised(path, target, max_seconds=60)
    assert caught.value.error_code == "audio_too_long"
    assert target.stat().st_size <= 61 * BYTES_PER_SECOND + WAV_HEADER_BYTES


@pytest.mark.parametrize("name", ["wav", "wav float 48 kHz", "mp3 with cover", "mp4 video"])
async def test_the_normal_form(corpus, tmp_path, name):
    target = tmp_path / "normal.wav"
    audio = await normalised(corpus(name), target)
    content = target.read_bytes()
    assert content[36:40] == b"data"
    assert int.from_bytes(content[40:44], "little") == len(content) - WAV_HEADER_BYTES
    with wave.open(str(target)) as file:
        assert file.getparams()[:3] == (1, 2, 16000)
        assert audio.duration == file.getnframes() / 16000
    with wave.open(str(SAMPLE)) as file:
        original = file.readframes(int(SECONDS * 16000))
    assert name != "wav" or content[WAV_HEADER_BYTES:] == original


@pytest.mark.parametrize(("declared", "missing"), [(20, 5), (15.5, 0), (None, 0), (10, 0)])
async def test_a_missing_end_is_noticed(corpus, tmp_path, declared, missing):
    audio = await normalised(corpus("wav"), tmp_path / "normal.wav", declared=declared)
    assert audio.missing_seconds == missing


async def test_a_full_disk_is_no_fault_of_the_recording(corpus, tmp_path):
    (tmp_path / "normal.wav").symlink_to("/dev/full")
    with pytest.raises(EngineFailed) as caught:
        await normalised(corpus("wav"), tmp_path / "normal.wav")
    assert caught.value.retryable


@pytest.mark.parametrize("work", [probe, partial(normalise, target=Path("no"), declared=None)])
@pytest.mark.parametrize(
    ("script", "error"),
    [("kill -9 $$", EngineFailed), (None, EngineMissing)],
    ids=["killed", "none"],
)
async def test_a_broken_ffmpeg_is_no_fault_of_the_recording(corpus, tmp_path, work, script, error):
    fake = tmp_path / "ffmpeg"
    if script:
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(stat.S_IRWXU)
    with corpus("wav").open("rb") as source, pytest.raises(error):
        await work(str(fake), source, max_seconds=HOUR)


def test_the_configured_ffmpeg_goes_first():
    assert find_ffmpeg("/opt/ffmpeg") == "/opt/ffmpeg"
