"""Everyday commands for files, folders, disks and the login node itself."""
