"""Running tasks: the event loop thread, the one run wrapper, the Celery edge and the dispatch of due executions."""
