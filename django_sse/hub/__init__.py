"""The live side: one hub per process and event loop, a topic per channel, a cursor per stream."""
