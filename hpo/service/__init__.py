"""What people ask for, as functions: the command line prints what they return, Python calls them."""
