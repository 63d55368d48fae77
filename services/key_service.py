"""API keys: creating, checking, revoking.

A token is `stt_<key id>_<secret>`. The secret has 192 random bits, so that a plain SHA-256 of it
can be stored: there is nothing to guess that a slow hash would have to protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from core.clock import utc_now
from core.errors import AppError, InvalidInput, NotFound
from core.logger import logger
from repositories.api_key_models import ApiKey, Scope
from repositories.api_key_repository import ApiKeyRepository

# Letters, digits and what stands in mail addresses: owners are parts of other keys.
OWNER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f]{1,100}$"

_ID_BYTES = 8
_SECRET_BYTES = 24
_TOKEN = re.compile(rf"stt_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")
# A key that another process revokes or creates counts after this long at the latest.
_REMEMBERED_SECONDS = 2.0
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass
class _Remembered:
    """A key as it was read lately."""

    key: ApiKey
    until: float


class KeyService:
    """Use cases of API keys.

    What was read is remembered for two seconds, so that many requests cost few queries. Every
    method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, keys: ApiKeyRepository) -> None:
        self._keys = keys
        self._remembered: dict[str, _Remembered] = {}
        self._are_there_any = False
        self._any_until = 0.0

    async def create(self, owner: str, name: str, scopes: Iterable[Scope]) -> tuple[ApiKey, str]:
        """Make a key, and return it with its token, which nobody can see again.

        Args:
            owner: Whose tasks it gives access to; new owners need no other preparation.
            name: What it is for.
            scopes: What it allows, at least one.

        Raises:
            InvalidInput: One of them cannot be used (code `invalid_key`).
        """
        wanted = sorted(set(scopes), key=list(Scope).index)
        if not re.fullmatch(OWNER_PATTERN, owner):
            raise InvalidInput(
                "An owner is up to 64 letters, digits and `.`, `_`, `@`, `+`, `-`, the first of "
                "them a letter or digit.",
                code="invalid_key",
            )
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidInput("A name is one line of up to 100 characters.", code="invalid_key")
        if not wanted:
            raise InvalidInput("A key needs at least one scope.", code="invalid_key")
        secret = secrets.token_hex(_SECRET_BYTES)
        key = ApiKey(
            id=secrets.token_hex(_ID_BYTES),
            secret_sha256=_digest(secret),
            owner=owner,
            name=name,
            scopes=wanted,
        )
        await self._keys.add(key)
        self._forget(key.id)
        logger.info("API key {} was created for {}", key.id, owner)
        return key, f"stt_{key.id}_{secret}"

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones included, oldest first."""
        return await self._keys.list_keys()

    async def revoke(self, key_id: str) -> ApiKey:
        """Make a key invalid for ever; doing it again changes nothing.

        Other processes take it for valid for up to two seconds more.

        Raises:
            NotFound: There is no key with this id (code `key_not_found`).
        """
        key = await self._keys.revoke(key_id)
        self._forget(key_id)
        if key is None:
            raise NotFound(
                "There is no API key with this id. It is the part of the token between the two "
                "underscores.",
                code="key_not_found",
            )
        logger.info("API key {} of {} was revoked", key.id, key.owner)
        return key

    async def authenticate(self, token: str) -> ApiKey | None:
        """Return the key that a token belongs to; None if it is not valid, or not any more."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        key = await self._find(parts[1])
        if key is None or key.revoked_at is not None:
            return None
        if not hmac.compare_digest(_digest(parts[2]), key.secret_sha256):
            return None
        await self._note_use(key)
        return key

    async def has_valid(self) -> bool:
        """Return whether there is any key that has not been revoked."""
        if time.monotonic() >= self._any_until:
            self._are_there_any = await self._keys.has_valid()
            self._any_until = time.monotonic() + _REMEMBERED_SECONDS
        return self._are_there_any

    async def _find(self, key_id: str) -> ApiKey | None:
        seen = self._remembered.get(key_id)
        if seen is not None and time.monotonic() < seen.until:
            return seen.key
        key = await self._keys.get(key_id)
        if key is None:  # not remembered: there is no end of ids that do not exist
            return None
        self._remembered[key_id] = _Remembered(key, time.monotonic() + _REMEMBERED_SECONDS)
        return key

    async def _note_use(self, key: ApiKey) -> None:
        now = utc_now()
        if key.last_used_at is not None and now - key.last_used_at < _USE_NOTED_EVERY:
            return
        key.last_used_at = now  # of what is remembered, so that requests at the same time do not
        with suppress(AppError):
            await self._keys.note_use(key.id, now)

    def _forget(self, key_id: str) -> None:
        self._remembered.pop(key_id, None)
        self._any_until = 0.0


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
