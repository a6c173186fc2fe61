"""Sign-in with the fake Hub as the visitors of a Space do it: OpenID Connect with an authorization code.

with OpenIDProvider(hub, "client", "secret") as provider:
    provider.user_token = "hf_alice_write"  # Hub token of the user who signs in
"""

import base64
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fake_hub.http_server import HubHTTPServer
from tests.fake_hub.messages import HubHTTPError, Request, Response, make_json_response
from tests.fake_hub.routing import Routes
from tests.fake_hub.server import LoopbackHub
from tests.fake_hub.state import HubState

SCOPES = "openid profile read-memberships"


class OpenIDProvider:
    """Provider that signs in the owner of `user_token` without a prompt; `user_token` is the access token."""

    def __init__(self, hub: LoopbackHub, client_id: str, client_secret: str, token_lifetime_s: int = 8 * 3600):
        self.client_id, self.client_secret, self.token_lifetime_s = client_id, client_secret, token_lifetime_s
        self.user_token = ""
        self._codes: dict[str, dict[str, Any]] = {}
        self._key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})
        routes = Routes()
        routes.route("GET", "/.well-known/openid-configuration")(self.get_configuration)
        routes.route("GET", "/oauth/authorize")(self.authorize)
        routes.route("POST", "/oauth/token")(self.issue_token)
        routes.route("GET", "/oauth/userinfo")(self.get_userinfo)
        routes.route("GET", "/oauth/jwks")(self.get_jwks)
        self._listener = HubHTTPServer(hub, "openid", routes, 0)
        self.url = self._listener.url

    def __enter__(self) -> "OpenIDProvider":
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    def build_environment(self) -> dict[str, str]:
        """Build the environment variables of a Space with `hf_oauth: true`."""
        return {
            "OAUTH_CLIENT_ID": self.client_id,
            "OAUTH_CLIENT_SECRET": self.client_secret,
            "OAUTH_SCOPES": SCOPES,
            "OPENID_PROVIDER_URL": self.url,
        }

    # --- endpoints -----------------------------------------------------------------------------------------------

    def get_configuration(self, state: HubState, request: Request) -> Response:
        names = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "userinfo_endpoint": "userinfo",
            "jwks_uri": "jwks",
        }
        pages = {name: f"{self.url}/oauth/{path}" for name, path in names.items()}
        return make_json_response({"issuer": self.url, "id_token_signing_alg_values_supported": ["RS256"], **pages})

    def authorize(self, state: HubState, request: Request) -> Response:
        query = {name: values[0] for name, values in request.query.items()}
        if query.get("client_id") != self.client_id or query.get("response_type") != "code":
            raise HubHTTPError(400, message="Unknown client")
        code = secrets.token_urlsafe(16)
        self._codes[code] = query | {"user_token": self.user_token}
        redirect_url = query["redirect_uri"] + ("&" if "?" in query["redirect_uri"] else "?")
        return Response(302, headers={"Location": redirect_url + urlencode({"code": code, "state": query["state"]})})

    def issue_token(self, state: HubState, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        grant = self._codes.pop(form.get("code", ""), None)  # a code is valid once
        if not self._is_client(request) or grant is None or grant["redirect_uri"] != form.get("redirect_uri"):
            raise HubHTTPError(400, message="invalid_grant")
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": self.client_id,
            "iat": now,
            "exp": now + self.token_lifetime_s,
            "nonce": grant["nonce"],
            **self._build_profile(state, grant["user_token"]),
        }
        return make_json_response(
            {
                "access_token": grant["user_token"],
                "token_type": "bearer",
                "expires_in": self.token_lifetime_s,
                "scope": SCOPES,
                "id_token": jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key),
            }
        )

    def get_userinfo(self, state: HubState, request: Request) -> Response:
        if request.token not in state.accounts:
            raise HubHTTPError(401, message="Invalid token")
        return make_json_response(self._build_profile(state, request.token))

    def get_jwks(self, state: HubState, request: Request) -> Response:
        return make_json_response({"keys": [self._key.as_dict(private=False)]})

    def _is_client(self, request: Request) -> bool:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        return scheme == "Basic" and (unquote(name), unquote(secret)) == (self.client_id, self.client_secret)

    def _build_profile(self, state: HubState, token: str) -> dict[str, str]:
        name = state.accounts[token].name
        return {
            "sub": name,
            "name": name.title(),
            "preferred_username": name,
            "profile": f"{state.url}/{name}",
            "picture": f"{state.url}/avatars/{name}.svg",
        }
