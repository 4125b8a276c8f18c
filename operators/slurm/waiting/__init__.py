"""Waiting for jobs, and what they wait for."""
