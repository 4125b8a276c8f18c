"""Turn HTTP into values and back: bodies, headers, files, errors, OpenAPI."""
