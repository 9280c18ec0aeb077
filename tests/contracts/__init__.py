"""Contracts that every implementation of an interface must meet. A new one is tested by adding one line."""
