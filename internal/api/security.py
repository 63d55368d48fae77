"""Who may do what: every request is looked at here before its body is received.

A middleware and no dependency of routes: FastAPI receives a whole upload before it asks those, and
a route cannot forget what it need not mention.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core.config import Settings
from core.errors import AppError, Forbidden, Unauthenticated
from core.rate_limits import RateLimits
from internal.api.errors import answer_error
from repositories.api_key_models import ApiKey
from repositories.api_key_models import Scope as KeyScope

# Whose tasks are those of requests without a key, while there are no keys.
LOCAL_OWNER = "local"

_PUBLIC_PATHS = ("/health", "/docs", "/openapi.json")
# Carries a token of its own.
_UPLOAD_ADDRESS = re.compile("/api/v1/uploads/[^/]+/content")
_ADMIN_PATH = "/api/v1/keys"
_READING = ("GET", "HEAD", "OPTIONS")
_ORDER = list(KeyScope)
# Keys cannot be guessed; this keeps those who try from filling log and database with it.
_FAILURES_PER_MINUTE = 20
# What proxies add. Where one stands before us, the address of a request says nothing of its client.
_PROXY_HEADERS = ("forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip")
_PROXY_HEADER_PREFIX = "x-forwarded-"


@dataclass(frozen=True)
class Principal:
    """Who makes a request.

    Attributes:
        owner: Whose tasks it sees.
        scopes: What it may do.
        key_id: By which key; None for local requests while there are no keys.
    """

    owner: str
    scopes: frozenset[KeyScope]
    key_id: str | None

    @classmethod
    def of(cls, key: ApiKey) -> Principal:
        """Return who sends a key."""
        return cls(key.owner, frozenset(key.scopes), key.id)

    def allows(self, scope: KeyScope) -> bool:
        """Return whether this scope, or one that includes it, is among those given."""
        return any(_ORDER.index(held) >= _ORDER.index(scope) for held in self.scopes)


_LOCAL = Principal(LOCAL_OWNER, frozenset(KeyScope), None)


class AuthorisationMiddleware:
    """Turns away who may not do what they ask; routes find the `Principal` in the state."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            await _authorise(request, self._settings)
        except AppError as error:
            response = await answer_error(request, error)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def get_principal(request: Request) -> Principal:
    """Return who makes a request; those to public paths come from nobody."""
    principal: Principal = request.state.principal
    return principal


def is_public(path: str) -> bool:
    """Return whether a path is served to everybody."""
    if _UPLOAD_ADDRESS.fullmatch(path):
        return True
    return any(path == public or path.startswith(f"{public}/") for public in _PUBLIC_PATHS)


def needed_scope(method: str, path: str) -> KeyScope:
    """Return what a key has to allow for a request."""
    if path == _ADMIN_PATH or path.startswith(f"{_ADMIN_PATH}/"):
        return KeyScope.ADMIN
    return KeyScope.READ if method in _READING else KeyScope.WRITE


def is_local(request: Request, allowed_origins: list[str]) -> bool:
    """Return whether a program on this machine makes a request, on its own behalf.

    Not one that came through a proxy, for which anybody may have asked; nor one that a web page of
    somebody else's makes a browser send: its `Origin` says so or, where the page's own name was
    made to point at this machine, its `Host`.
    """
    headers = request.headers
    if any(name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_PREFIX) for name in headers):
        return False
    if request.client is None or not _is_loopback(request.client.host):
        return False
    host = headers.get("host", "")
    if not _is_loopback(_host_name(host)):
        return False
    origin = headers.get("origin")
    return origin in (None, f"{request.url.scheme}://{host}", *allowed_origins)


async def _authorise(request: Request, settings: Settings) -> None:
    """Put who makes a request into its state, or raise why it is not served."""
    limits: RateLimits = request.app.state.rate_limits
    path = request.scope["path"]
    local = is_local(request, settings.cors_origins)
    if is_public(path):
        if not local:
            await limits.hit("address", _address(request), settings.rate_limit_per_address)
        return
    principal = await _identify(request, settings, local=local)
    needed = needed_scope(request.method, path)
    if not principal.allows(needed):
        raise Forbidden(
            f"Your API key does not allow this: it would need the scope `{needed}`.",
            code="insufficient_scope",
            needed=needed,
        )
    request.state.principal, request.state.key_id = principal, principal.key_id


async def _identify(request: Request, settings: Settings, *, local: bool) -> Principal:
    """Return who makes a request, and count it against their limit.

    Raises:
        Unauthenticated: It has no valid key, and there are keys.
        Forbidden: There are none, and it does not come from here (code `keys_required`).
        TooManyTasks: There were too many (retryable; code `rate_limited`).
    """
    access = request.app.state.container.access
    limits: RateLimits = request.app.state.rate_limits
    token = _token(request.headers)
    key = await access.authenticate(token) if token else None
    if key is not None:
        await limits.hit("key", key.id, settings.rate_limit_per_key)
        return Principal.of(key)
    has_keys = await access.has_valid()
    if local and not has_keys:
        return _LOCAL
    if token and has_keys:
        await limits.hit("failure", _address(request), _FAILURES_PER_MINUTE)
        raise Unauthenticated("This API key is not valid, or not any more.")
    await limits.hit("address", _address(request), settings.rate_limit_per_address)
    if has_keys:
        raise Unauthenticated(
            "This needs an API key, sent as `Authorization: Bearer …` or `X-API-Key: …`. The "
            "server's operator can make one with `python main.py keys create`.",
            code="missing_api_key",
        )
    raise Forbidden(
        "This server has no API keys yet. Until it has, it serves only programs on its own "
        "machine that call it as localhost. Its operator can make one with "
        "`python main.py keys create`.",
        code="keys_required",
    )


def _token(headers: Headers) -> str | None:
    """Return the API key that a request carries, in either of its two places."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get("x-api-key")


def _address(request: Request) -> str:
    """Return what counts as one client: an address, or the network that an IPv6 client has."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
