"""Whom a request comes from, and what one owner may take of what all share."""
