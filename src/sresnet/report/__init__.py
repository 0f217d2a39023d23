"""Runs as a page to read: one self-contained HTML file."""
