"""Generic resources, GPUs and their use, in each form that Slurm prints."""
