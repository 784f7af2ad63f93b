"""What a process has once: database threads, a background loop, fork and exit hooks, stopping."""
