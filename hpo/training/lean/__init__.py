"""The lean executor: Lightning's Trainer with a plain loop in the place of its own; docs/decisions/0011 says why."""
