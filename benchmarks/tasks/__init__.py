"""The tasks of benchmarks/models.py: data that ship in packages, and the models that people would pick instead."""
