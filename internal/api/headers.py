"""Headers on every answer that tell browsers what they may do with it: as little as possible."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_CORS_PREFIX = "access-control-"


def harden(headers: MutableHeaders) -> None:
    """Add what an answer's route has not set itself.

    An origin that is not allowed learns nothing by CORS: Starlette leaves out only the header that
    counts.
    """
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if f"{_CORS_PREFIX}allow-origin" not in headers:
        for name in [name for name in headers if name.startswith(_CORS_PREFIX)]:
            del headers[name]
