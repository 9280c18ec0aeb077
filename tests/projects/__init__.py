"""Small projects, as users have them, and what the tests need to run studies of them."""
