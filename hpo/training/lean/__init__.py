"""The lean executor: Lightning's Trainer with a plain loop instead of its own; docs/decisions/0011 has the reasons."""
