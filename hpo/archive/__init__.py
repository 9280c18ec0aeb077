"""A study as one file: a zip of its rows as JSON lines and of its files, with a manifest of their checksums.

Nothing in it is read by unpickling, and nothing of it is believed: names, sizes, checksums and every value are checked
before they reach a folder or a store (docs/archive.md).
"""
