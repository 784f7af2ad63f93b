"""The second half of the handoff: from Django's answer to the end of the stream."""
