"""The Slurm scheduler: submit, monitor and cancel jobs; show nodes, partitions and usage."""
