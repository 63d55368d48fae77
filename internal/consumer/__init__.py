"""The consumer process: an RQ worker, and the handlers that the queue names."""
