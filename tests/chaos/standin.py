"""Stands in for whisper-cli: quick, always the same, and obedient.

Run by `python -S -E` with whisper-cli's arguments. What it hears in a clip is one word, made of the
clip's samples: a chunk that is lost, doubled or swapped shows in the transcript. The prompt says
what else to do, as `name=value` pairs:

    tag=NAME        written into the journal, so that tests can tell jobs apart
    sleep=SECONDS   spent on each clip
    poison=WORD     crash on the clip with this word (`all`: on every one), until the file
                    `cured-NAME` is there
    real=yes        run the real whisper-cli instead

Each clip that is begun and done is a line of the journal, in the folder CHAOS_DIR.
"""

import json
import os
import sys
import time
import zlib

HEADER_BYTES = 44
BYTES_PER_MILLISECOND = 32
REAL = os.path.join(os.path.dirname(__file__), "..", "..", ".tools", "whisper-cli")  # noqa: PTH118, PTH120


def main(argv: list[str]) -> None:
    prompt = argv[argv.index("--prompt") + 1] if "--prompt" in argv else ""
    asked = dict(pair.split("=", 1) for pair in prompt.split())
    tag = asked.get("tag", "-")
    if "real" in asked:
        run_real(argv, tag)
    places = [at for at, name in enumerate(argv) if name == "-f"]  # … -f SOURCE -of TARGET …
    for source, target in [(argv[at + 1], argv[at + 3]) for at in places]:
        with open(source, "rb") as file:  # noqa: PTH123
            samples = file.read()[HEADER_BYTES:]
        word = f"w{zlib.crc32(samples):08x}"
        note("begin", tag, word)
        time.sleep(float(asked.get("sleep", 0)))
        if asked.get("poison") in (word, "all") and not is_cured(tag):
            sys.exit("this clip is poison")
        with open(target + ".json", "w") as out:  # noqa: PTH123
            json.dump(heard(word, len(samples) // BYTES_PER_MILLISECOND), out)
        note("done", tag, word)


def run_real(argv: list[str], tag: str) -> None:
    """Become the real engine, without the prompt."""
    at = argv.index("--prompt")
    argv = argv[:at] + argv[at + 3 :]  # with --carry-initial-prompt
    argv[argv.index("-mc") + 1] = "0"
    os.execve(REAL, [REAL, *argv], os.environ | {"CHAOS_TAG": tag})


def heard(word: str, milliseconds: int) -> dict:
    """The form of `-ojf`: one word in the middle."""
    offsets = {"from": milliseconds * 2 // 5, "to": milliseconds * 3 // 5}
    token = {"text": f" {word}", "p": 0.9}
    entry = {"offsets": offsets, "text": f" {word}", "tokens": [token]}
    return {"result": {"language": "en"}, "transcription": [entry]}


def is_cured(tag: str) -> bool:
    return os.path.exists(os.path.join(os.environ["CHAOS_DIR"], f"cured-{tag}"))  # noqa: PTH110, PTH118


def note(event: str, tag: str, word: str) -> None:
    if folder := os.environ.get("CHAOS_DIR"):
        line = f"{time.time():.3f} {event} {tag} {word}\n"
        with open(os.path.join(folder, "journal"), "a") as journal:  # noqa: PTH118, PTH123
            journal.write(line)


if __name__ == "__main__":
    main(sys.argv[1:])
