"""The interactive documentation, with every file from this service.

The framework's own page loads Swagger UI from a foreign host and starts it with a script inside
the page. Here the two files come from a package in the image and the start from a third one, so a
strict policy holds: the browser itself refuses whatever is not from here.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

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


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` and its three files; none of them is in the OpenAPI document."""
    keep = {"Cache-Control": "private, max-age=3600"}

    @app.get("/docs", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(
            _PAGE.format(title=app.title),
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=keep)

    # Read here, in a millisecond: a FileResponse would start a pool of threads for them.
    @app.get("/docs/swagger-ui.css", include_in_schema=False)
    async def style() -> Response:
        text = (_ASSETS / "swagger-ui.css").read_bytes()
        return Response(text, media_type="text/css", headers=keep)

    @app.get("/docs/swagger-ui-bundle.js", include_in_schema=False)
    async def script() -> Response:
        text = (_ASSETS / "swagger-ui-bundle.js").read_bytes()
        return Response(text, media_type="text/javascript", headers=keep)
