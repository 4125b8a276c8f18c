"""The asynchronous client, and the source of `_sync`: run `scripts/make_sync.py` after a change."""
