"""Seeded mutation tests: what the tests notice when the code is wrong."""
