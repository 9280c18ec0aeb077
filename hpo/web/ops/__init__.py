"""`/ops`: the pages for people."""
