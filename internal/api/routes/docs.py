"""The page that shows the API's description, and tries it out."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
_ICON = "https://fastapi.tiangolo.com/img/favicon.png"
_OWN_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return Swagger's page, which may load Swagger and ask this server, and do nothing else."""
    page = get_swagger_ui_html(
        openapi_url=request.app.openapi_url,
        title=request.app.title,
        swagger_js_url=f"{_SWAGGER}swagger-ui-bundle.js",
        swagger_css_url=f"{_SWAGGER}swagger-ui.css",
        swagger_favicon_url=_ICON,
    )
    digests = [hashlib.sha256(script).digest() for script in _OWN_SCRIPT.findall(page.body)]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    page.headers["Content-Security-Policy"] = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src {_SWAGGER} {scripts}; style-src {_SWAGGER} 'unsafe-inline'; "
        f"img-src data: {_ICON}; connect-src 'self'"
    )
    return page
