"""django_sse as it is measured."""
