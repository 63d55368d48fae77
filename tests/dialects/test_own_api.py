"""Translation, temperature and the language's confidence in our own API and on the command line."""

import pytest

from tests.conftest import Stack, upload, wait_for_end


def transcript(http, path, **options) -> dict:
    answer = upload(http, path, **options)
    assert answer.status_code == 202, answer.text
    wait_for_end(http, answer.json()["id"])
    return http.get(f"/api/v1/tasks/{answer.json()['id']}/result").raise_for_status().json()


@pytest.mark.parametrize(("task", "text"), [("transcribe", "Hallo"), ("translate", "Hello")])
def test_the_task(http, speech, task, text):
    found = transcript(http, speech, model="german", task=task)
    assert (found["text"], found["language"]) == (text, "de")
    assert 0.99 < found["language_confidence"] <= 1


def test_a_language_that_was_told_has_no_confidence(http, speech):
    found = transcript(http, speech, model="german", language="fr")
    assert (found["language"], found["language_confidence"]) == ("fr", None)


def test_options_are_shown(http, speech):
    answer = upload(http, speech, model="german", task="translate", temperature="0.5").json()
    options = http.get(f"/api/v1/tasks/{answer['id']}/metadata").json()["options"]
    assert (options["task"], options["temperature"]) == ("translate", 0.5)


@pytest.mark.parametrize(("option", "value"), [("task", "sing"), ("temperature", "1.5")])
def test_options_that_cannot_be_used(http, speech, option, value):
    answer = upload(http, speech, **{option: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")


def test_the_command_line(backend: Stack, speech):
    ran = backend.command("transcribe", str(speech), "--model", "german", "--task", "translate")
    assert ran.stdout == "Hello\n"
