"""The verbs as functions: the command line prints what they return, and Python calls them."""
