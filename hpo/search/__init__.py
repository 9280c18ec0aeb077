"""The search: samplers, pruners, rungs, and the history of a study that they read."""
