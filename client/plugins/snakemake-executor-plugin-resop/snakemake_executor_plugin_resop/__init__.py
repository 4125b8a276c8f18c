"""An executor of Snakemake: each job of a workflow is a job of Slurm, submitted through resop."""

from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from snakemake_executor_plugin_resop.executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=True,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
    pass_group_args=True,
)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """The settings: `--resop-url` and so on. Snakemake does not understand `str | None`."""

    url: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Address of the service; default: the one of the login, or RESOP_URL."},
    )
    profile: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "The stored login to use, as of `resop login --profile`."}
    )
    cluster: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Slurm cluster, where there are several; default: the login node's."},
    )
    setup: str = field(
        default="",
        metadata={"help": "Lines of bash that run first in each job: module load snakemake"},
    )
    logs: str = field(
        default="~/.local/share/resop/snakemake",
        metadata={
            "help": "Folder on the cluster for the output of jobs; that of jobs that succeed is "
            "removed at the end."
        },
    )
