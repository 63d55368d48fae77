"""The speech pipeline: files, arrays and frozen dataclasses; no database, queue, store or web."""
