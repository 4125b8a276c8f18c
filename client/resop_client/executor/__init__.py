"""An executor of concurrent.futures whose calls run as jobs of Slurm: `hpc.executor()`."""

from resop_client.executor.slurm_executor import SlurmExecutor

__all__ = ["SlurmExecutor"]
