"""API keys, for those whose key allows `admin`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from internal.api.dependencies import ContainerDep
from internal.api.responses import errors
from repositories.api_key_models import ApiKey, Scope
from services.key_service import NAME_PATTERN, OWNER_PATTERN, KeyService

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


class KeyIn(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(extra="forbid")

    owner: Annotated[
        str,
        Field(
            description="Whose tasks it gives access to. Keys of one owner see the same tasks.",
            examples=["alice"],
            pattern=OWNER_PATTERN,
        ),
    ]
    name: Annotated[
        str, Field(description="What it is for.", examples=["laptop"], pattern=NAME_PATTERN)
    ]
    scopes: Annotated[
        list[Scope],
        Field(description="What it allows; each includes those before it.", min_length=1),
    ] = [Scope.WRITE]


class KeyOut(BaseModel):
    """A key, without its secret."""

    id: str = Field(examples=["9f86d081884c7d65"])
    owner: str = Field(examples=["alice"])
    name: str = Field(examples=["laptop"])
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None = Field(None, description="To the minute.")
    revoked_at: datetime | None = Field(None, description="Since when it is not valid any more.")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return a key as administrators see it."""
        return cls(**{name: getattr(key, name) for name in KeyOut.model_fields})


class CreatedKeyOut(KeyOut):
    """A new key."""

    token: str = Field(description="What clients send. It is shown this once.")


class KeyListOut(BaseModel):
    """All keys, revoked ones included, oldest first."""

    keys: list[KeyOut]


async def get_access(container: ContainerDep) -> KeyService:
    """Return the use cases of API keys."""
    return container.access


AccessDep = Annotated[KeyService, Depends(get_access)]


@router.get("", summary="List API keys", responses=errors(503))
async def list_keys(access: AccessDep) -> KeyListOut:
    """Return the keys of every owner, without their secrets."""
    return KeyListOut(keys=[KeyOut.of(key) for key in await access.list_keys()])


@router.post("", status_code=201, summary="Create an API key", responses=errors(422, 503))
async def create_key(wanted: KeyIn, access: AccessDep) -> CreatedKeyOut:
    """Make a key of any owner. Once there is a first one, every request needs a key."""
    key, token = await access.create(wanted.owner, wanted.name, wanted.scopes)
    return CreatedKeyOut(**KeyOut.of(key).model_dump(), token=token)


@router.delete(
    "/{key_id}",
    status_code=204,
    summary="Revoke an API key",
    responses=errors(404, 503, status_404="There is no such key."),
)
async def revoke_key(key_id: str, access: AccessDep) -> None:
    """Make a key invalid for ever. Other API processes may take it for up to two seconds more."""
    await access.revoke(key_id)
