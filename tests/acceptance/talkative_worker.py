"""`resop worker` that logs all messages of libraries, sends Celery events, and dumps its threads
when it crashes, as administrators may configure it to diagnose a fault."""

import faulthandler

from resop.config import logging
from worker import main

logging._QUIET_LOGGERS = ()  # type: ignore[assignment]
main.app.conf.worker_send_task_events = True

if __name__ == "__main__":
    faulthandler.enable()
    main.main()
