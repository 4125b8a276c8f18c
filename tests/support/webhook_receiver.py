"""An HTTPS server that receives webhooks, with a certificate of a test authority."""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.background_service import BackgroundService
from tests.support.ports import free_port

NAME = "localhost"
VALIDITY = timedelta(days=9)


class WebhookRequest(NamedTuple):
    """A request that the server received."""

    path: str
    headers: dict[str, str]
    """The headers by name in lower case."""
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, parsed."""
        body: dict[str, Any] = json.loads(self.body)
        return body

    def check_signature(self, secret: str) -> None:
        """Verify the signature (standardwebhooks.com). Raises AssertionError if it is wrong."""
        signer = hmac.HMAC(base64.b64decode(secret.removeprefix("whsec_")), hashes.SHA256())
        signer.update(f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode())
        signer.update(self.body)
        version, signature = self.headers["webhook-signature"].split(",")
        try:
            signer.verify(base64.b64decode(signature))
        except InvalidSignature:
            raise AssertionError("the signature is wrong") from None
        age = datetime.now(UTC).timestamp() - int(self.headers["webhook-timestamp"])
        assert version == "v1" and -5 < age < 300


Answers = Callable[[int], int]
"""Maps the number of earlier requests for the task to a status; answers of status 200 never end."""


class WebhookReceiver(BackgroundService):
    """A webhook receiver on loopback; a context manager that can be restarted."""

    def __init__(self, folder: Path) -> None:
        """Prepare the server and write the certificates of server and authority to `folder`."""
        self.port = free_port()
        self.authority = folder / "authority.pem"
        """The CA certificate that clients must trust."""
        self.received: list[WebhookRequest] = []
        self.answers: Answers = lambda before: 204
        self.page: tuple[int, Iterable[bytes]] = 404, ()
        """The answer to GET: the status, and the content in chunks."""
        self._certificate = folder / "hook.pem"
        self._server: ThreadingHTTPServer | None = None
        certify(self.authority, self._certificate)

    @property
    def address(self) -> str:
        """The URL for webhooks."""
        return f"https://{NAME}:{self.port}/webhooks?by=resop"

    def start(self) -> None:
        """Start to accept connections."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        # Each handshake runs in a thread, so that a silent client blocks no other.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def stop(self) -> None:
        """Stop; connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def requests_for(self, task: str) -> list[WebhookRequest]:
        """Return the received requests for a task."""
        return [each for each in self.received if each.headers["webhook-id"] == task]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, chunks = hook.page
                self.send_response(status)
                self.send_header("Location", hook.address)
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(chunk)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = hook.answers(len(hook.requests_for(headers["webhook-id"])))
                hook.received.append(WebhookRequest(self.path, headers, body))
                self.send_response(status)
                self.send_header("Location", f"https://{NAME}:{hook.port}/elsewhere")
                self.end_headers()
                if status == 200:
                    while True:  # an endless answer, which the sender must not read
                        self.wfile.write(b"x" * 100_000)

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # a client that does not trust us disconnects
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def certify(authority: Path, certificate: Path) -> None:
    """Write the certificate of a new authority, and a certificate for NAME with its key."""
    issuing, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    issued_by = issuing.public_key()
    now = datetime.now(UTC)

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALIDITY)
            .not_valid_after(now + VALIDITY)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            # Python 3.13 rejects certificates without these two and KeyUsage.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issued_by), False)
            .add_extension(_usage(ca), critical=True)
        )
        if not ca:
            names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
            builder = builder.add_extension(names, critical=False)
        pem = serialization.Encoding.PEM
        return builder.sign(issuing, hashes.SHA256()).public_bytes(pem)

    authority.write_bytes(signed(issuer, issuing, ca=True))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    private = own.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate.write_bytes(private + signed(name, own, ca=False))


def _usage(ca: bool) -> x509.KeyUsage:
    """Return the key usage of an authority, or of a server."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
