"""Batch scripts and submission lines, and what they say."""
