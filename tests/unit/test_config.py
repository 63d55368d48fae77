"""Settings: what `.env.example` documents, what stays secret, and what comes first."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from core.config import PROJECT_ROOT, STACK_ENV_FILE, Settings, load_settings

EXAMPLE = PROJECT_ROOT / ".env.example"
SECRETS = {
    "MONGODB_URL": "mongodb://ann:hunter2@db.example.org",
    "REDIS_PASSWORD": "hunter2",
    "MINIO_SECRET_KEY": "hunter2",
}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path):
    """No settings from this machine: neither its environment nor a `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_example_names_every_setting_once_in_order():
    named = re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(), re.MULTILINE)
    assert named == [name.upper() for name in Settings.model_fields]


def test_example_holds_the_defaults():
    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)


def test_example_copied_to_env_is_read(tmp_path):
    (tmp_path / ".env").write_text(EXAMPLE.read_text() + "\nAPI_PORT=8123\nUNKNOWN=1\n")
    assert Settings().api_port == 8123


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_never_show(monkeypatch, name):
    monkeypatch.setenv(name, SECRETS[name])
    settings = Settings()
    value = getattr(settings, name.lower())
    assert value.get_secret_value() == SECRETS[name]
    for text in (repr(settings), str(settings), str(settings.model_dump()), repr(value)):
        assert "hunter2" not in text
    assert "hunter2" not in settings.model_dump_json()


def test_secrets_do_not_show_in_the_report_of_another_mistake(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("API_PORT", "70000")
    with pytest.raises(ValidationError, match="api_port") as mistake:
        Settings()
    assert "hunter2" not in str(mistake.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "0"), ("REDIS_PORT", "x"), ("LOG_LEVEL", "LOUD"), ("LOG_FORMAT", "xml"),
        ("STORAGE_BACKEND", "ftp"), ("MINIO_BUCKET", "ab"), ("WHISPER_BEAM_SIZE", "9"),
        ("CONSUMER_CONCURRENCY", "0"), ("MAX_UPLOAD_BYTES", "0"), ("CORS_ORIGINS", "not json"),
        ("MAX_OPEN_TASKS", "0"), ("RETENTION_HOURS", "0"), ("RECONCILE_SECONDS", "0"),
        ("ORPHAN_GRACE_SECONDS", "0"), ("REUSE_TRANSCRIPTS", "perhaps"),
    ],
)  # fmt: skip
def test_value_that_does_not_fit_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=name.lower()):
        Settings()


def test_lists_are_json(monkeypatch):
    monkeypatch.setenv("CORS_ORIGINS", '["https://app.example.org"]')
    assert Settings().cors_origins == ["https://app.example.org"]


def test_environment_comes_before_env_and_the_running_stack_before_both(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / ".env").write_text("REDIS_PORT=1001\nREDIS_HOST=from-env-file\n")
    monkeypatch.setenv("REDIS_PORT", "1002")
    monkeypatch.setenv("MONGODB_URL", "mongodb://elsewhere")
    monkeypatch.setenv("WHISPER_MODEL", "base.en")
    settings = load_settings()
    assert (settings.redis_host, settings.redis_port) == ("from-env-file", 1002)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / STACK_ENV_FILE).write_text(
        "REDIS_HOST='127.0.0.1'\nREDIS_PORT='1003'\nREDIS_PASSWORD='a#b c'\n"
        "MONGODB_URL='mongodb://127.0.0.1:1004'\nSTORAGE_BACKEND='folder'\n"
    )
    settings = load_settings()
    assert (settings.redis_host, settings.redis_port) == ("127.0.0.1", 1003)
    assert settings.redis_password.get_secret_value() == "a#b c"
    assert settings.mongodb_url.get_secret_value() == "mongodb://127.0.0.1:1004"
    assert settings.storage_backend == "folder"
    assert settings.whisper_model == "base.en", "what the stack does not name stays"


def test_data_folder_is_absolute_and_its_parts_follow(monkeypatch, tmp_path):
    assert load_settings().data_dir == tmp_path / ".data"
    monkeypatch.setenv("DATA_DIR", "elsewhere/data")
    settings = load_settings()
    assert settings.data_dir == tmp_path / "elsewhere" / "data"
    assert settings.temp_dir == settings.data_dir / "tmp"
    assert settings.objects_dir == settings.data_dir / "objects"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1"])
def test_api_is_reached_on_this_machine_whatever_it_listens_to(monkeypatch, host):
    monkeypatch.setenv("API_HOST", host)
    assert Settings().api_url == "http://127.0.0.1:8000"
