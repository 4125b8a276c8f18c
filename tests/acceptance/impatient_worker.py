"""`resop worker` that notices a fault within seconds: the recovery's minute is too long for tests.

A separate script, so that the worker itself needs no settings for tests.
"""

import os

from worker import heartbeats, main, recovery, webhooks

heartbeats.HEARTBEAT_SECONDS = recovery.INTERVAL_SECONDS = 0.5  # type: ignore[assignment]
dead_seconds = float(os.environ.get("DEAD_SECONDS", "2.5"))
recovery.DEAD_SECONDS = dead_seconds  # type: ignore[assignment,attr-defined]
recovery.LOST_MESSAGE_SECONDS = 1
main.DRAIN_SECONDS = 1
webhooks.POLL_SECONDS = 0.5
webhooks.RETRY_PAUSES = (0.5,) * 1000  # type: ignore[assignment]
webhooks.ATTEMPT_SECONDS, webhooks.LEASE_SECONDS = 4, 6

if __name__ == "__main__":
    main.main()
