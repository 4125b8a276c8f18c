"""Exit with 0 if the API of this container reports that it is ready to serve."""

import os
import ssl
import urllib.request

https = os.environ.get("ENABLE_HTTPS", "").lower() in {"1", "true", "yes", "on"}
port = os.environ.get("PORT", "3000")

# The container asks itself, so neither the scheme nor the certificate needs a check.
urllib.request.urlopen(  # noqa: S310
    f"{'https' if https else 'http'}://127.0.0.1:{port}/health/ready",
    timeout=5,
    context=ssl._create_unverified_context() if https else None,  # noqa: S323
)
