"""One self-contained page about a study: the answer first, then how it was found, and how to find it again."""
