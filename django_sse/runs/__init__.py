"""Runs: generators that outlive their request.

A run publishes what its generator yields to a channel of its own, and every response is a
subscription to that channel. A client that reconnects goes on where it was, a second client joins,
and a stop or the death of a process reaches all of them in the same way, as the channel's end.
"""
