"""Wrap every request: security headers, request log, audit trail."""
