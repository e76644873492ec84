"""Clients of hosted models, calls within limits, and safe downloads from URLs."""
