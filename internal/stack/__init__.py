"""The embedded stack: redis-server, a MongoDB wire server, the API and consumers on one machine."""
