"""Slurm's reasons: why a job waits, and why it failed."""
