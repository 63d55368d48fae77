"""The processes: the API, the consumers, the command line and the embedded stack."""
