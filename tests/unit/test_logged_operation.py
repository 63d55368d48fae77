"""`logged_operation` reports each failure once, translates it, and hides nothing."""

from __future__ import annotations

import asyncio

import pytest
from loguru import logger
from minio.error import S3Error

from core.errors import AppError, Conflict, StorageUnavailable
from core.logger import bound, logged_operation


@pytest.fixture
def lines():
    """What is logged during the test, as loguru's records."""
    records = []
    sink = logger.add(
        lambda message: records.append(message.record), level="DEBUG", format="{message}"
    )
    yield records
    logger.remove(sink)


def failures(lines) -> list[str]:
    return [line["level"].name for line in lines if line["level"].no >= 30]


def to_conflict(error: Exception) -> AppError | None:
    return Conflict("Taken.") if isinstance(error, KeyError) else None


def test_success_is_logged_with_its_duration_fields_and_outcome(lines):
    with logged_operation("store object", key="a/b") as outcome:
        outcome["size_bytes"] = 7
    started, done = lines
    assert (started["level"].name, started["extra"]["key"]) == ("DEBUG", "a/b")
    assert started["message"] == "store object: started"
    assert done["level"].name == "INFO"
    assert done["message"].startswith("store object: done in ")
    assert (done["extra"]["key"], done["extra"]["size_bytes"]) == ("a/b", 7)
    assert done["extra"]["duration_ms"] >= 0


def test_quiet_success_is_for_debugging_and_a_quiet_failure_is_not(lines):
    with logged_operation("ping", quiet=True):
        pass
    assert {line["level"].name for line in lines} == {"DEBUG"}
    with pytest.raises(Conflict), logged_operation("ping", quiet=True):
        raise Conflict("No.")
    assert failures(lines) == ["WARNING"]


def test_lines_name_the_caller(lines):
    with pytest.raises(Conflict), logged_operation("outer"):
        raise Conflict("No.")
    assert {line["function"] for line in lines} == {"test_lines_name_the_caller"}


def test_error_of_ours_passes_through_and_is_warned_of_once(lines):
    error = StorageUnavailable("Full.", code="disk_full")
    with (
        pytest.raises(StorageUnavailable) as raised,
        logged_operation("outer"),
        logged_operation("middle", translate=to_conflict),
        logged_operation("inner"),
    ):
        raise error
    assert raised.value is error
    assert raised.value.__cause__ is None
    assert failures(lines) == ["WARNING"]
    assert "inner: failed" in lines[-1]["message"]
    assert lines[-1]["message"].endswith("Full. (disk_full)")


def test_translated_error_names_its_cause_and_is_warned_of_once(lines):
    cause = KeyError("x")
    with (
        pytest.raises(Conflict) as raised,
        logged_operation("outer", translate=to_conflict),
        logged_operation("inner", translate=to_conflict),
    ):
        raise cause
    assert raised.value.__cause__ is cause
    assert failures(lines) == ["WARNING"]


@pytest.mark.parametrize("translate", [None, to_conflict])
def test_unknown_error_is_reported_once_with_its_traceback(lines, translate):
    error = ZeroDivisionError("x")
    with (
        pytest.raises(ZeroDivisionError) as raised,
        logged_operation("outer", translate=translate),
        logged_operation("inner", translate=translate),
    ):
        raise error
    assert raised.value is error
    assert failures(lines) == ["ERROR"]
    assert lines[-1]["exception"].value is error


def test_error_that_cannot_be_changed_is_reported_all_the_same(lines):
    frozen = S3Error(None, "SlowDown", "message", "resource", "request", "host")
    with pytest.raises(S3Error), logged_operation("outer"), logged_operation("inner"):
        raise frozen
    assert failures(lines) == ["ERROR"]


def test_error_that_is_met_again_later_is_another_failure(lines):
    for _ in range(2):
        with pytest.raises(Conflict), logged_operation("try"):
            raise Conflict("No.")
    assert failures(lines) == ["WARNING"] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interruptions_are_neither_failures_nor_translated(lines, error):
    with pytest.raises(error), logged_operation("wait", translate=lambda _: Conflict("No.")):
        raise error
    assert failures(lines) == []
    assert not any("done" in line["message"] for line in lines)


async def test_operation_lasts_through_awaits(lines):
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(Conflict), logged_operation("fetch", translate=to_conflict):
        await fail()
    assert failures(lines) == ["WARNING"]
    assert not any("done" in line["message"] for line in lines)


async def test_cancelled_operation_is_no_failure(lines):
    async def hang() -> None:
        with logged_operation("hang", translate=lambda _: Conflict("No.")):
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failures(lines) == []


async def test_bound_ids_belong_to_one_task(lines):
    async def work(number: int) -> None:
        with bound(job_id=number):
            await asyncio.sleep(0)
            await asyncio.to_thread(logger.info, "in a thread of {}", number)
            with logged_operation("work", number=number):
                await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(5)))
    assert len(lines) == 15
    for line in lines:
        number = line["extra"].get("number", line["message"][-1])
        assert line["extra"]["job_id"] == int(number)
    logger.info("outside")
    assert "job_id" not in lines[-1]["extra"]


@pytest.mark.parametrize("text", ["{}", "{0} {x} {extra[y]}", "<red>%s</red>", "\\<b>", "{"])
def test_texts_are_never_formats(lines, text):
    with pytest.raises(Conflict), logged_operation("merge", text=text):
        raise Conflict(text)
    assert text in lines[-1]["message"]
    assert lines[-1]["extra"]["text"] == text
