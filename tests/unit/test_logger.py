"""What `configure_logging` makes processes write to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from core.config import PROJECT_ROOT

BEGIN = """
import logging
from core.errors import Conflict
from core.logger import bound, configure_logging, logged_operation, logger
configure_logging({level!r}, {log_format!r}, process="tester")
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a script after `configure_logging`, for its stderr."""

    def run_script(script: str, level: str = "INFO", log_format: str = "text") -> str:
        path = tmp_path / "script.py"
        path.write_text(BEGIN.format(level=level, log_format=log_format) + script)
        ran = subprocess.run(
            [sys.executable, str(path)],
            env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout == ""
        return ran.stderr

    return run_script


def test_text_has_time_level_process_message_and_bound_ids(run):
    script = "with bound(job_id='j-1', stage='merge'): logger.bind(words=3).info('merged')"
    (line,) = run(script).splitlines()
    date, time, rest = line.split(" ", 2)
    assert (len(date), len(time)) == (len("2026-01-31"), len("12:00:00.000"))
    assert rest == "INFO    [tester] merged job_id=j-1 stage=merge words=3"


def test_text_without_ids_ends_with_the_message(run):
    (line,) = run("logger.warning('careful')").splitlines()
    assert line.endswith("WARNING [tester] careful")


def test_json_is_one_object_a_line_with_bound_ids(run):
    script = "with bound(job_id='j-1'): logger.bind(words=3).info('merged\\nüber {}', 'all')"
    (line,) = run(script, log_format="json").splitlines()
    record = json.loads(line)["record"]
    assert record["message"] == "merged\nüber all"
    assert record["extra"] == {"process": "tester", "job_id": "j-1", "words": 3}
    assert record["level"]["name"] == "INFO"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_text_of_others_is_never_a_format(run, log_format):
    texts = ["{}", "{0}{x}", "{extra[job_id]}", "<red>%s %d</red>", "\\<", "{", "}"]
    script = f"""
for text in {texts!r}:
    logger.info("{{}}", text)
    logger.bind(text=text).info("bound")
    logging.getLogger("other").info(text)
    with bound(text=text): logger.info("in context")
"""
    written = run(script, log_format=log_format).splitlines()
    assert len(written) == 4 * len(texts)
    for at, text in enumerate(texts):
        for line in written[4 * at : 4 * at + 4]:
            assert text in (line if log_format == "text" else str(json.loads(line)["record"]))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_standard_logging_is_forwarded(run, log_format):
    script = """
logging.getLogger("uvicorn.error").warning("port %d is taken", 8000)
logging.getLogger("rq").log(25, "between the levels")
logging.getLogger("rq").debug("too much")
logging.getLogger("pymongo").info("chatter")
logging.getLogger("pymongo").warning("trouble")
"""
    written = run(script, log_format=log_format).splitlines()
    assert len(written) == 3
    for line, text in zip(
        written, ["port 8000 is taken", "between the levels", "trouble"], strict=True
    ):
        assert text in line
        assert "tester" in line


def test_levels_below_the_one_asked_for_are_left_out(run):
    script = "logger.info('quiet'); logger.error('loud')"
    (line,) = run(script, level="WARNING").splitlines()
    assert "loud" in line
    assert len(run("logger.debug('x')", level="DEBUG").splitlines()) == 1


def test_unknown_failure_comes_with_its_traceback_and_no_values_of_variables(run):
    script = """
def divide(secret):
    return 1 / len(secret[:0])

try:
    with logged_operation("divide", job_id="j-1"):
        divide("hunter2")
except ZeroDivisionError:
    pass
"""
    written = run(script)
    first, second = written.splitlines()[:2]
    assert "ERROR   [tester] divide: failed after " in first
    assert first.endswith("job_id=j-1")
    assert second.startswith("Traceback")
    assert "ZeroDivisionError" in written
    assert "in divide" in written
    assert "hunter2" not in written.replace('divide("hunter2")', "")


def test_failure_of_ours_is_one_line(run):
    script = """
try:
    with logged_operation("store"): raise Conflict("Taken {already}.")
except Conflict:
    pass
"""
    (line,) = run(script).splitlines()
    assert line.endswith("Taken {already}. (conflict)")


def test_configuring_again_replaces_the_earlier_output(run):
    script = "configure_logging('INFO', 'text', process='second'); logger.info('once')"
    (line,) = run(script).splitlines()
    assert "[second] once" in line
