"""Runs: generators that outlive their request.

What a run says goes through the log into a channel of its own, and every response is a
subscription to that: a client that comes back goes on where it was, a second one joins, and a stop
or the death of a process reaches all of them in the same way, as the channel's end.
"""
