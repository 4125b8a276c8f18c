"""The options of sbatch, what is checked first, and its answer."""
