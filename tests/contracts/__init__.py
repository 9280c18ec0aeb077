"""Contracts: what every implementation of an idea must do. A new one is tested by adding one line."""
