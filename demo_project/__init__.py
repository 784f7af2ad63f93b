"""The demo site: one small app for each way to stream."""
