"""Exports a trial's model as a folder that runs without this package."""
