"""Every query of the system: jobs and chunks in MongoDB."""
