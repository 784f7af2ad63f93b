"""One of each per process: database threads, a background loop, fork and exit hooks, stopping."""
