"""Small projects, as users have them, and helpers to run studies of them."""
