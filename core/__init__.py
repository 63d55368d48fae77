"""What everything stands on: settings, logging, errors, and the clients of the three servers."""
