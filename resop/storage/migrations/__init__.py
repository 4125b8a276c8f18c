"""Upgrade the database schema from one release to the next."""
