"""What is tried next, and what goes on: samplers, pruners, rungs, and the history of a study that they look at."""
