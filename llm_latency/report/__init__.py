"""Measurements and verdicts as text, Markdown, HTML and SVG; nothing here computes."""
