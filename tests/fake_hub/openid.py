"""Signing in with the loopback Hub, as a Space's visitors do with the real one: OpenID Connect with a code.

with OpenIDProvider(hub, "client", "secret") as provider:
    provider.visitor = "hf_alice_write"   # the token of whoever sits in front of the browser
"""

import base64
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fake_hub.http_server import Listener
from tests.fake_hub.messages import Answer, Refused, Request, json_answer
from tests.fake_hub.routing import Routes
from tests.fake_hub.server import LoopbackHub
from tests.fake_hub.state import Store

SCOPES = "openid profile read-memberships"


class OpenIDProvider:
    """Signs in whoever `visitor` is, without asking; the access token it gives out is that visitor's token of the hub."""

    def __init__(self, hub: LoopbackHub, client: str, secret: str, lasts: int = 8 * 3600):
        self.client, self.secret, self.lasts = client, secret, lasts
        self.visitor = ""
        self._codes: dict[str, dict[str, Any]] = {}
        self._key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})
        routes = Routes()
        routes.route("GET", "/.well-known/openid-configuration")(self.describe)
        routes.route("GET", "/oauth/authorize")(self.authorize)
        routes.route("POST", "/oauth/token")(self.give_token)
        routes.route("GET", "/oauth/userinfo")(self.tell_user)
        routes.route("GET", "/oauth/jwks")(self.show_keys)
        self._listener = Listener(hub, "openid", routes, 0)
        self.url = self._listener.url

    def __enter__(self) -> "OpenIDProvider":
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    def environment(self) -> dict[str, str]:
        """What a Space with `hf_oauth: true` finds in its environment."""
        return {
            "OAUTH_CLIENT_ID": self.client,
            "OAUTH_CLIENT_SECRET": self.secret,
            "OAUTH_SCOPES": SCOPES,
            "OPENID_PROVIDER_URL": self.url,
        }

    # --- what it answers -----------------------------------------------------------------------------------------

    def describe(self, store: Store, request: Request) -> Answer:
        names = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "userinfo_endpoint": "userinfo",
            "jwks_uri": "jwks",
        }
        pages = {name: f"{self.url}/oauth/{path}" for name, path in names.items()}
        return json_answer({"issuer": self.url, "id_token_signing_alg_values_supported": ["RS256"], **pages})

    def authorize(self, store: Store, request: Request) -> Answer:
        asked = {name: values[0] for name, values in request.query.items()}
        if asked.get("client_id") != self.client or asked.get("response_type") != "code":
            raise Refused(400, message="Unknown client")
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked | {"visitor": self.visitor}
        following = asked["redirect_uri"] + ("&" if "?" in asked["redirect_uri"] else "?")
        return Answer(302, headers={"Location": following + urlencode({"code": code, "state": asked["state"]})})

    def give_token(self, store: Store, request: Request) -> Answer:
        said = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = self._codes.pop(said.get("code", ""), None)  # a code is good for once
        if not self._is_client(request) or asked is None or asked["redirect_uri"] != said.get("redirect_uri"):
            raise Refused(400, message="invalid_grant")
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": self.client,
            "iat": now,
            "exp": now + self.lasts,
            "nonce": asked["nonce"],
            **self._profile(store, asked["visitor"]),
        }
        return json_answer(
            {
                "access_token": asked["visitor"],
                "token_type": "bearer",
                "expires_in": self.lasts,
                "scope": SCOPES,
                "id_token": jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key),
            }
        )

    def tell_user(self, store: Store, request: Request) -> Answer:
        if request.token not in store.accounts:
            raise Refused(401, message="Invalid token")
        return json_answer(self._profile(store, request.token))

    def show_keys(self, store: Store, request: Request) -> Answer:
        return json_answer({"keys": [self._key.as_dict(private=False)]})

    def _is_client(self, request: Request) -> bool:
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(said).decode().partition(":")
        return scheme == "Basic" and (unquote(name), unquote(secret)) == (self.client, self.secret)

    def _profile(self, store: Store, token: str) -> dict[str, str]:
        name = store.accounts[token].name
        return {
            "sub": name,
            "name": name.title(),
            "preferred_username": name,
            "profile": f"{store.url}/{name}",
            "picture": f"{store.url}/avatars/{name}.svg",
        }
