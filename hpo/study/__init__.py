"""A study: its file, what the file says, what it resolves to, and where it is trained."""
