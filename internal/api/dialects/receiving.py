"""Forms of clients that send clips of voices as text, which is more than a field commonly holds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from internal.api.receiving import AdmittedRoute

# Ten seconds of studio sound (48 kHz, stereo, 16 bits) in base64 are 2.6 MB. Fields of text are
# held in memory, all of them: so there may not be many.
_LONGEST_FIELD_BYTES = 3 * 1024 * 1024
_MOST_FIELDS = 40


class DialectRoute(AdmittedRoute):
    """An upload with few fields of text, which may be long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given requests with these limits."""
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            return await handle(_FormRequest(request.scope, request.receive))

        return handle_form


class _FormRequest(Request):
    def form(self, **_: Any) -> Any:
        return super().form(
            max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD_BYTES
        )
