"""Accounts at an HPC centre: manage a user in the directory, in Slurm and in the portal at once."""
