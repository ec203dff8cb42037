"""`/docs`: Swagger UI, whose files are in a package, so that it works without network.

`?version=` chooses the document; it shows version 1 unless asked otherwise.
"""

from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SutazAI API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<nav><a href="/docs?version=1.0">Version 1.0</a> · <a href="/docs?version=2.0">Version 2.0</a></nav>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """const documents = new Map([
  ["1.0", "/api/v1/openapi.json"],
  ["2.0", "/api/v2/openapi.json"],
]);
const version = new URLSearchParams(location.search).get("version");
SwaggerUIBundle({
  url: documents.get(version) ?? "/api/v1/openapi.json",
  dom_id: "#ui",
  persistAuthorization: true,
  validatorUrl: null,
});
"""
# Swagger UI styles its elements inline and draws its icons from data URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


async def _page(_request: Request) -> Response:
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "start.js":
        return Response(_START, media_type="text/javascript")
    if name not in _ASSETS:
        raise HTTPException(404)
    path = files("fastapi_swagger").joinpath("resources", name)
    return FileResponse(
        str(path), media_type=_ASSETS[name], headers={"cache-control": "max-age=86400"}
    )


ROUTES = [Route("/docs", _page), Route("/docs/{name}", _asset)]
