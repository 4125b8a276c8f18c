"""Send task ids through Celery and messages through Redis pub/sub."""
