"""Route that serves the picture of previews of links to the page."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.paths import STATIC_DIR

CARD_PATH = "/card.png"
CARD_SIZE = (1200, 630)  # pixels, as sites recommend
HEADERS = {"Cache-Control": "public, max-age=86400"}


def build_card_route() -> Route:
    """Return the route, for GET and HEAD."""
    content = (STATIC_DIR / "card.png").read_bytes()

    async def serve_card(request: Request) -> Response:
        return Response(content, headers=HEADERS, media_type="image/png")

    return Route(CARD_PATH, serve_card, methods=["GET"])
