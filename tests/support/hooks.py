"""An HTTPS server that is told things, with a certificate of an authority of its own."""

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

from tests.support.ports import free_port

NAME = "localhost"
FAR = timedelta(days=9)


class Told(NamedTuple):
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    """Their names in small letters."""
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """What it says."""
        said: dict[str, Any] = json.loads(self.body)
        return said

    def check_signature(self, secret: str) -> None:
        """As a receiver has to (standardwebhooks.com); AssertionError if it is wrong."""
        made = hmac.HMAC(base64.b64decode(secret.removeprefix("whsec_")), hashes.SHA256())
        made.update(f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode())
        made.update(self.body)
        version, signature = self.headers["webhook-signature"].split(",")
        try:
            made.verify(base64.b64decode(signature))
        except InvalidSignature:
            raise AssertionError("the signature is wrong") from None
        age = datetime.now(UTC).timestamp() - int(self.headers["webhook-timestamp"])
        assert version == "v1" and -5 < age < 300


Answers = Callable[[int], int]
"""The status for a request, by how many there were before of its task; 200 never ends."""


class Hook:
    """A server on loopback; a context manager, usable again after `stop`."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes its certificate and that of its authority."""
        self.port = free_port()
        self.authority = folder / "authority.pem"
        """What makes its certificate a good one."""
        self.told: list[Told] = []
        self.answers: Answers = lambda before: 204
        self.page: tuple[int, Iterable[bytes]] = 404, ()
        """What stands at its address for who only asks: status, and content piece by piece."""
        self._certificate = folder / "hook.pem"
        self._server: ThreadingHTTPServer | None = None
        _certify(self.authority, self._certificate)

    @property
    def address(self) -> str:
        """Where it is told."""
        return f"https://{NAME}:{self.port}/told?by=resop"

    def __enter__(self) -> "Hook":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        # The handshake is a thread's: who connects and says nothing holds up nobody.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def of(self, task: str) -> list[Told]:
        """What it was told of a task."""
        return [each for each in self.told if each.headers["webhook-id"] == task]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, pieces = hook.page
                self.send_response(status)
                self.send_header("Location", hook.address)
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = hook.answers(len(hook.of(headers["webhook-id"])))
                hook.told.append(Told(self.path, headers, body))
                self.send_response(status)
                self.send_header("Location", f"https://{NAME}:{hook.port}/elsewhere")
                self.end_headers()
                if status == 200:
                    while True:  # an answer without end, which nobody is to read
                        self.wfile.write(b"x" * 100_000)

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # who does not trust us goes away
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _certify(authority: Path, certificate: Path) -> None:
    """Write the certificate of a new authority, and one for NAME with its key."""
    issuing, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    issued_by = issuing.public_key()
    made = datetime.now(UTC)

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(made - FAR)
            .not_valid_after(made + FAR)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            # Without these two and KeyUsage, Python 3.13 takes none of both.
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
    """An authority signs certificates; who has one signs."""
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
