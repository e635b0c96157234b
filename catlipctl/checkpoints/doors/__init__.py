"""Doors to what others trained: one file for each origin."""
