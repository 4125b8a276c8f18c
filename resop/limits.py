"""Limits of every step and transfer."""

OUTPUT_LIMIT = 1 << 20
"""Bytes of each output stream that an answer and the record keep; the rest is dropped."""

FILE_LIMIT = 1 << 20
"""Bytes of a file, or of a folder as a tar archive, inside a request or an answer."""

TRANSFER_LIMIT = 64 << 20
"""Bytes of a file, or of a folder as a tar archive, that an operation reads or writes at once."""

OUTPUT_CHUNK = 1 << 16
"""Characters of an output in one event while the step runs."""
