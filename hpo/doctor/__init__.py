"""Checks of a store and a machine, one per topic, and their repairs."""
