"""Frames as text: for the terminal, Markdown and papers."""
