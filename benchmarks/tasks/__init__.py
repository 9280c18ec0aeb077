"""The tasks of benchmarks/rivals.py: data that ship in packages, and the models that people would pick instead."""
