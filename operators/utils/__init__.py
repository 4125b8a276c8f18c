"""Everyday commands for files, folders, disk space and the login node."""
