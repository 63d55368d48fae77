"""Use cases of the API and the consumers, in terms of repositories, store, queue and engines."""
