"""The client of resop: an HPC cluster from a laptop.

    from resop_client import Resop

    hpc = Resop("https://hpc.example").login("ada", "password")
    for node in hpc.slurm.nodes():
        print(node.name, node.state)
    sweep = hpc.sweep("run.sh", X0=[0.1, 0.2], SEED=range(10), partition="batch")
    sweep.wait(progress=True)
    table = sweep.results("out-{index}.csv")

`AsyncResop` is the same with `await`. `resop_client.errors` has the errors.
"""

from resop_client._async.batches import AsyncBatch
from resop_client._async.client import AsyncResop
from resop_client._async.files import AsyncFiles
from resop_client._async.sweeps import AsyncSweep
from resop_client._async.tasks import AsyncTask
from resop_client._sync.batches import Batch, BatchState
from resop_client._sync.client import Resop
from resop_client._sync.files import Files
from resop_client._sync.sweeps import Sweep, SweepProgress
from resop_client._sync.tasks import Task, TaskEvent
from resop_client.device_code import DeviceCode
from resop_client.errors import ResopError
from resop_client.login_store import Login, LoginStore
from resop_client.record import Record
from resop_client.table import Table
from resop_client.transfers import FileInfo
from resop_client.version import __version__

__all__ = [
    "AsyncBatch",
    "AsyncFiles",
    "AsyncResop",
    "AsyncSweep",
    "AsyncTask",
    "Batch",
    "BatchState",
    "DeviceCode",
    "FileInfo",
    "Files",
    "Login",
    "LoginStore",
    "Record",
    "Resop",
    "ResopError",
    "Sweep",
    "SweepProgress",
    "Table",
    "Task",
    "TaskEvent",
    "__version__",
]
