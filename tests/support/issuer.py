"""An OpenID Connect issuer on loopback: discovery, keys, code flow with PKCE, device flow."""

import base64
import contextlib
import hashlib
import json
import secrets
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.support.ports import free_port
from tests.support.webhook_receiver import NAME, certify

CLIENT = "resop"
Form = dict[str, str]


class FakeIssuer:
    """The issuer; a context manager. Everybody who asks is the person `subject`."""

    def __init__(self, folder: Path) -> None:
        """Prepare the issuer; its certificates are written to `folder`."""
        self.port = free_port()
        self.authority = folder / "issuer-authority.pem"
        """The CA certificate that clients must trust."""
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.keys = [self.key]
        self.subject = "alice"
        self.secret = "client-" + secrets.token_hex(8)
        """The password of the client."""
        self.silent = threading.Event()
        """While set, requests are accepted and not answered."""
        self.asked: list[str] = []
        """The paths of the requests so far."""
        self.nonces: list[str] = []
        """Overrides for the nonces of the next tokens."""
        self._codes: dict[str, Form] = {}
        self._devices: dict[str, str] = {}
        """By device code: why there is no token yet; empty once the person has agreed."""
        self._certificate = folder / "issuer.pem"
        self._server: ThreadingHTTPServer | None = None
        certify(self.authority, self._certificate)

    @property
    def address(self) -> str:
        """The issuer's name, which is its address."""
        return f"https://{NAME}:{self.port}/realms/hpc"

    def __enter__(self) -> "FakeIssuer":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self.silent.clear()
        self._server.shutdown()
        self._server.server_close()

    def token(self, key: RSAKey | None = None, **claims: Any) -> str:
        """Return a signed ID token for `subject`; a claim with the value None is not in it."""
        header = {"alg": "RS256", "kid": "one"} | claims.pop("header", {})
        said = self.claims() | claims
        present = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(header, present, key or self.key, algorithms=[header["alg"]])

    def claims(self) -> dict[str, Any]:
        """Return the claims of a new ID token."""
        now = int(time.time())
        return {
            "iss": self.address,
            "aud": CLIENT,
            "sub": f"person-{self.subject}",
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            "preferred_username": self.subject,
        }

    def access_token(self, **claims: Any) -> str:
        """Return an access token for `subject` (RFC 9068)."""
        header = {"typ": "at+jwt"} | claims.pop("header", {})
        return self.token(**{"client_id": CLIENT, **claims, "header": header})

    def authorize(self, address: str) -> str:
        """Do what a browser and its person do at the authorization endpoint.

        Returns the address that the browser is sent back to.
        """
        query = {name: each[0] for name, each in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.address}/authorize?")
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT)
        assert query["code_challenge_method"] == "S256" and "openid" in query["scope"].split()
        code = secrets.token_hex(8)
        self._codes[code] = query
        return f"{query['redirect_uri']}?code={code}&state={query['state']}"

    def agree(self, user_code: str) -> None:
        """Do what a person does who has been shown a device's code."""
        self._devices[f"device-{user_code}"] = ""

    def refuse(self, user_code: str, error: str = "access_denied") -> None:
        """Answer the next questions of a device with an error."""
        self._devices[f"device-{user_code}"] = error

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.address,
            "jwks_uri": f"{self.address}/keys",
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "device_authorization_endpoint": f"{self.address}/device",
        }

    def _post(self, path: str, form: Form, authorization: str) -> tuple[int, Any]:
        if path.endswith("/device"):
            user_code = secrets.token_hex(4)
            self._devices[f"device-{user_code}"] = "authorization_pending"
            shown = {"user_code": user_code, "verification_uri": f"{self.address}/activate"}
            return 200, {"device_code": f"device-{user_code}", "interval": 1, **shown}
        if form["grant_type"].endswith("device_code"):
            if error := self._devices[form["device_code"]]:
                return 400, {"error": error}
            return 200, {"id_token": self.token()}
        login = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or authorization != f"Basic {login}"
            or form["redirect_uri"] != asked["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).decode().rstrip("=") != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        nonce = self.nonces.pop() if self.nonces else asked["nonce"]
        return 200, {"id_token": self.token(nonce=nonce), "token_type": "Bearer"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {
                    "/realms/hpc/.well-known/openid-configuration": issuer._discovery(),
                    "/realms/hpc/keys": {
                        "keys": [each.as_dict(private=False) for each in issuer.keys]
                    },
                }.get(self.path)
                self._answer(404 if found is None else 200, found)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: each[0] for name, each in parse_qs(body).items()}
                self._answer(*issuer._post(self.path, form, self.headers.get("Authorization", "")))

            def _answer(self, status: int, content: Any) -> None:
                issuer.asked.append(self.path)
                while issuer.silent.is_set():
                    time.sleep(0.05)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # a client that gave up
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
