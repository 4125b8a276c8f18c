"""`resop worker` that notices a fault within seconds: the recovery's minute is too long for tests.

A script of its own, so that the worker itself needs no knobs for tests.
"""

from worker import main, recovery, webhooks

recovery.BEAT_SECONDS = 0.5  # type: ignore[assignment]
recovery.DEAD_SECONDS = 2.5  # type: ignore[assignment]
recovery.FORGOTTEN_SECONDS = 1
main.DRAIN_SECONDS = 1
# A message that was taken and not acknowledged is delivered again after a second, not an hour.
main.app.conf.broker_transport_options |= {
    "visibility_timeout": 1,
    "unacked_restore_interval": 0.5,
    "unacked_restore_throttle": 1,
}
webhooks.LOOK_SECONDS = 0.5
webhooks.PAUSES = (0.5,) * 1000  # type: ignore[assignment]
webhooks.ATTEMPT_SECONDS, webhooks.LEASE_SECONDS = 4, 6

if __name__ == "__main__":
    main.main()
