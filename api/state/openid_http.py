"""Talk to the OpenID Connect issuer: over HTTPS only, with limits on time and size."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

FETCH_SECONDS = 10.0
"""Time limit for one answer of the issuer."""
MAX_ANSWER_BYTES = 1 << 20


async def fetch(
    address: str,
    form: Mapping[str, str] | None = None,
    login: tuple[str, str] | None = None,
) -> bytes:
    """Return the content at an address, after a POST if there is a form.

    `login` is a user name and a password. Raises OSError (also TimeoutError) for any failure.
    """
    import httpx  # imported here, because most sites have no issuer

    if not address.startswith("https://"):
        raise OSError(f"{address} is not an https address")
    content = b""
    try:
        # With the system's certificates, or SSL_CERT_FILE. A redirect is an error, because it could
        # lead to http.
        context = await asyncio.to_thread(ssl.create_default_context)
        method = "GET" if form is None else "POST"
        async with (
            asyncio.timeout(FETCH_SECONDS),  # for everything; the timeout of httpx is for each read
            httpx.AsyncClient(verify=context, timeout=FETCH_SECONDS) as client,
            client.stream(method, address, data=form, auth=login) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise OSError(f"{address} returned more than {MAX_ANSWER_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        raise OSError(str(fault) or type(fault).__name__) from fault
    return content
