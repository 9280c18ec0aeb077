"""Every change of a study in the store: what may be claimed, by whom, for how long, and what came of it."""
