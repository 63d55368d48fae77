"""Settings of every process, from the environment, `.env`, and the embedded stack's own file.

`.env.example` documents each setting; a test keeps the two equal. Units are in the names. Nothing
is read at import: call `load_settings()`. May import nothing else of the project.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, IPvAnyNetwork, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
STACK_ENV_FILE = "stack.env"


class Settings(BaseSettings):
    """All settings; each is read from the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    # This process
    data_dir: Path = Path(".data")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    # API
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    cors_origins: list[str] = []
    trusted_proxies: list[IPvAnyNetwork] = []
    rate_limit_per_key: int = Field(1_200, ge=0)
    rate_limit_per_address: int = Field(2_400, ge=0)
    max_waiting_requests: int = Field(64, ge=1)
    api_key: SecretStr | None = None

    # MongoDB: jobs and chunks, the truth of what is to be done
    mongodb_url: SecretStr = SecretStr("mongodb://127.0.0.1:27017")
    mongodb_database: str = "stt"
    mongodb_max_pool_size: int = Field(50, ge=1)
    mongodb_min_pool_size: int = Field(0, ge=0)
    mongodb_timeout_ms: int = Field(5_000, ge=100)

    # Redis: the queues that wake consumers
    redis_host: str = "127.0.0.1"
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_db: int = Field(0, ge=0)
    redis_password: SecretStr | None = None

    # Object storage: recordings and transcripts
    storage_backend: Literal["minio", "folder"] = "minio"
    minio_endpoint: str = "127.0.0.1:9000"
    minio_access_key: str = ""
    minio_secret_key: SecretStr = SecretStr("")
    minio_bucket: str = Field("stt", min_length=3)
    minio_secure: bool = False
    minio_public_url: str | None = None

    # Engines
    ffmpeg_executable: str | None = None
    whisper_executable: str | None = None
    whisper_model: str = "demo-en"
    whisper_threads: int | None = Field(None, ge=1)
    whisper_beam_size: int = Field(5, ge=1, le=8)
    models_dir: Path = PROJECT_ROOT / "models"
    models_url: str = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main"

    # Speaker labels
    diarization_pipeline: str = "demo"
    hf_token: SecretStr | None = None
    diarization_device: Literal["auto", "cpu", "cuda"] = "auto"
    diarization_step: float | None = Field(None, gt=0, le=1)
    diarization_batch_size: int | None = Field(None, ge=1)
    diarization_threads: int | None = Field(None, ge=1)
    diarization_jobs_per_process: int = Field(50, ge=1)
    diarization_concurrency: int = Field(1, ge=1, le=64)
    known_speaker_threshold: float = Field(0.65, ge=-1, le=1)

    # Limits
    max_upload_bytes: int = Field(500 * 1024 * 1024, ge=1)
    max_duration_seconds: float = Field(12 * 3600.0, gt=0)
    max_open_tasks: int = Field(2_000, ge=1)
    max_open_tasks_per_owner: int = Field(500, ge=1)
    min_free_disk_bytes: int = Field(1024**3, ge=0)
    direct_upload_seconds: int = Field(3600, ge=60, le=7 * 24 * 3600)

    # Addresses that clients name: recordings to fetch, webhooks to call
    allowed_networks: list[IPvAnyNetwork] = []
    webhook_max_attempts: int = Field(10, ge=1, le=50)

    # Keeping
    retention_hours: float | None = Field(None, gt=0)
    reuse_transcripts: bool = True

    # Consumers
    consumer_concurrency: int = Field(2, ge=1, le=256)
    transcribe_batch_chunks: int = Field(4, ge=1)
    chunk_timeout_seconds: float = Field(600, gt=0)
    short_recording_seconds: float = Field(120, ge=0)
    job_max_attempts: int = Field(5, ge=1)
    reconcile_seconds: float = Field(5, gt=0)
    sweep_seconds: float = Field(60, gt=0)
    orphan_grace_seconds: float = Field(3600, ge=1)

    @property
    def temp_dir(self) -> Path:
        """Where uploads and consumers keep working files; safe to empty while nothing runs."""
        return self.data_dir / "tmp"

    @property
    def objects_dir(self) -> Path:
        """Root of the folder object store."""
        return self.data_dir / "objects"

    @property
    def api_url(self) -> str:
        """Where this machine's API is reached."""
        host = "127.0.0.1" if self.api_host in ("0.0.0.0", "::") else self.api_host
        return f"http://{host}:{self.api_port}"


def load_settings() -> Settings:
    """Read the settings; while an embedded stack runs in `data_dir`, its addresses come first.

    Raises:
        pydantic.ValidationError: A value does not fit; the message names the variable.
    """
    data_dir = Settings().data_dir.resolve()
    stack = dotenv_values(data_dir / STACK_ENV_FILE)
    changes: dict[str, Any] = {name.lower(): value for name, value in stack.items()}
    return Settings(**changes | {"data_dir": data_dir})
