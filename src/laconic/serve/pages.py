"""The page at ``/``: files that are installed with the package and ask for nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

PAGE = Path(__file__).parent / "page"
"""The page's files."""
_STRICT = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Asked again each time (and mostly answered with 304): parts of two versions must not meet in a browser.
    "cache-control": "no-cache",
}


class _Files(StaticFiles):
    def file_response(self, *args: Any, **keywords: Any) -> Response:
        """A file, under the same rules as the page."""
        response = super().file_response(*args, **keywords)
        response.headers.update(_STRICT)
        return response


def mount(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files under ``/page``."""
    app.mount("/page", _Files(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=_STRICT)
