"""A study: its file, the validated specification, the resolved study, and the jobs and devices that train it."""
