"""Choosing how to run a model by its inputs: strategies, what they change in its answers, and policies learned here."""
