"""Stored baselines: rows of earlier runs in files that are committed, and what a new run may do with them."""
