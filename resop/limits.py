"""Limits that hold for every step."""

OUTPUT_LIMIT = 1 << 20
"""Bytes kept of each output stream, in an answer and in the record; the rest is dropped."""
