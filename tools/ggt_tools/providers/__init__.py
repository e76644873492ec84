"""Clients of hosted models, the calls to them, and safe fetching of URLs."""
