"""The output files of jobs."""
