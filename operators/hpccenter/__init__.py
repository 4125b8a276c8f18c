"""The accounts of an HPC centre: a person in the directory, in Slurm and in its portal at once."""
