"""The experiments of `benchmarks/reliability.py`: real workers, real databases, real signals."""
