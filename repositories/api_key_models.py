"""What MongoDB keeps of API keys."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from core.clock import utc_now
from repositories.document import Document, Moment


class Scope(StrEnum):
    """What an API key allows; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Document):
    """A key that clients send to say whose requests theirs are.

    Attributes:
        id: The part of the token that is no secret.
        secret_sha256: Of the part that is, in hexadecimal. The secret itself is kept nowhere.
        owner: Whose tasks it gives access to.
        name: What it is for, in the words of whoever created it.
        scopes: What it allows.
        created_at: When it was made.
        last_used_at: To the minute; None if it never was.
        revoked_at: Since when it is not valid any more; None while it is.
    """

    id: str
    secret_sha256: str
    owner: str
    name: str
    scopes: list[Scope]
    created_at: Moment = Field(default_factory=utc_now)
    last_used_at: Moment | None = None
    revoked_at: Moment | None = None
