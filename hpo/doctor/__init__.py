"""Looks for what is wrong with a store and a machine: one check an idea, and the repairs."""
