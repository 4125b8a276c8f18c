"""`resop worker` that says whatever its libraries have to say, sends Celery's events, and dumps its
threads when it crashes: what an administrator may turn on who looks for a fault."""

import faulthandler

from resop.config import logging
from worker import main

logging._QUIET_LOGGERS = ()  # type: ignore[assignment]
main.app.conf.worker_send_task_events = True

if __name__ == "__main__":
    faulthandler.enable()
    main.main()
