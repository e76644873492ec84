"""Metrics: what is measured on a pair of an LQ and a GT image."""
