"""Detectors: how one is asked, and where one comes from."""
