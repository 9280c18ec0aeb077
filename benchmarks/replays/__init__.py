"""Recorded trainings and searches of them, for `benchmarks/search_quality.py`."""
