"""All that is not in the ASGI or WSGI specification, a file a server."""
