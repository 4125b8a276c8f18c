"""Measurements: our own figures beside bare floors, in the same run on the same machine."""
