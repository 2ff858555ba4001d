"""The interactive documentation, with every file from this service.

The framework's own page loads Swagger UI from a foreign host and starts it with a script inside
the page. Here the two files come from a package in the image and the start from a third one, so a
strict policy holds: the browser itself refuses whatever is not from here.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from api.endpoint import GetRoute

# The package is used for Swagger UI's two files only.
_ASSETS = Path(str(files("fastapi_swagger") / "resources"))

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="ui"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

# Without validatorUrl it would send the document to a validator of the makers of Swagger UI.
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", validatorUrl: null});
"""


def docs_routes(document: dict[str, Any]) -> list[BaseRoute]:
    """Route `/docs`, its three files and the OpenAPI document that it shows."""
    keep = {"Cache-Control": "private, max-age=3600"}

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    async def page(request: Request) -> Response:
        return HTMLResponse(
            _PAGE.format(title=document["info"]["title"]),
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )

    async def start(request: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=keep)

    # Read here, in a millisecond: a FileResponse would start a pool of threads for them.
    async def style(request: Request) -> Response:
        text = (_ASSETS / "swagger-ui.css").read_bytes()
        return Response(text, media_type="text/css", headers=keep)

    async def script(request: Request) -> Response:
        text = (_ASSETS / "swagger-ui-bundle.js").read_bytes()
        return Response(text, media_type="text/javascript", headers=keep)

    return [
        Route("/openapi.json", openapi),
        GetRoute("/docs", page),
        GetRoute("/docs/start.js", start),
        GetRoute("/docs/swagger-ui.css", style),
        GetRoute("/docs/swagger-ui-bundle.js", script),
    ]
