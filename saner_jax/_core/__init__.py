"""Helpers that the public packages share: strengths, trees, precision, averages, counts."""
