"""What schemathesis has to know that the API's description does not say; see test_fuzz.py."""

import itertools
import json
import os
from pathlib import Path

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation

# What there is: an API key, tasks, a webhook with a delivery, a direct upload, a recording.
GIVEN = json.loads(os.environ["FUZZ_GIVEN"])
# Text, as the description has it: schemathesis would take a body with bytes in it for invalid.
RECORDING = Path(GIVEN["recording"]).read_bytes().decode("ascii")
NO_RECORDING = "\x00 this is no recording \r\n--" * 8

RECORDING_FIELDS = ("file", "audio_file")
ADDRESS_FIELDS = ("url", "webhook_url")
# Nobody listens there, and it is no other machine.
NOWHERE = "http://127.0.0.1:1/"
# Some dialects take any text for a format.
FORMATS = {
    "response_format": ("text", "srt", "vtt", "verbose_json"),
    "output": ("json", "srt", "vtt", "tsv"),
}

_turns = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    """Make half of the requests about something that there is."""
    turn = next(_turns)
    ids = case.path_parameters or {}
    if ids.get("key_id") == GIVEN["key_id"]:
        ids["key_id"] = "0" * 16  # it would revoke the key that it sends
    if turn % 2 and case.method != "DELETE":
        for name in ids.keys() & GIVEN["ids"].keys():
            ids[name] = GIVEN["ids"][name][turn // 2 % len(GIVEN["ids"][name])]
    if isinstance(case.body, dict):
        case.body.update(_made_useful(case.body, turn, waits=not case.path.startswith("/api")))
    if isinstance(case.query, dict):
        case.query.update(_known_formats(case.query, turn))


@schemathesis.check
def nothing_of_the_inside(ctx, response, case) -> None:
    """No answer has paths of the server's files in it, or parts of its code."""
    text = response.text
    for sign in ("Traceback", 'File "', "site-packages", *GIVEN["inside"]):
        assert sign not in text, f"the answer shows the server's inside: {sign}"


@schemathesis.hook
def filter_failure(context, failure, case, response) -> bool:
    """Drop complaints that something invalid was accepted, where HTTP cannot tell it from valid."""
    if not isinstance(failure, AcceptedNegativeData) or case.meta is None:
        return True
    if case.media_type == "multipart/form-data" and "was string, became" in failure.message:
        return False  # in a form, everything is text
    # Headers that nobody knows belong to it.
    return any(
        component.mode.is_negative
        for location, component in case.meta.components.items()
        if location is not ParameterLocation.HEADER
    )


def _made_useful(body, turn, *, waits) -> dict:
    changes = _known_formats(body, turn)
    for field, value in body.items():
        if field in RECORDING_FIELDS and isinstance(value, str):
            # A request that waits for a transcript takes a second.
            changes[field] = RECORDING if turn % 4 == 1 or not waits else NO_RECORDING
        elif field in ADDRESS_FIELDS and str(value).startswith("http"):
            changes[field] = NOWHERE
        elif field == "upload_id" and turn % 2 and isinstance(value, str):
            changes[field] = GIVEN["upload_id"]
    return changes


def _known_formats(fields, turn) -> dict:
    return {
        name: FORMATS[name][turn // 2 % len(FORMATS[name])]
        for name in fields.keys() & FORMATS.keys()
        if turn % 2 and isinstance(fields[name], str)
    }
