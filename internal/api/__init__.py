"""The HTTP face: routes translate requests to `services.task_service` and back."""
