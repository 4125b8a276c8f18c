"""The Slurm scheduler: submit, watch and cancel jobs, and see the cluster they run on."""
