"""Limits that hold for every step."""

OUTPUT_LIMIT = 1 << 20
"""Bytes kept of each output stream, in an answer and in the record; the rest is dropped."""

FILE_LIMIT = 1 << 20
"""Bytes of a file, or of a folder as a tar archive, that travel inside of an answer."""

TRANSFER_LIMIT = 64 << 20
"""Bytes of a file, or of a folder as a tar archive, that an operation gets or puts at a time."""

PIECE = 1 << 16
"""Characters of an output that are shown in one piece while it comes."""
