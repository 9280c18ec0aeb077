"""Between a worker and the processes it starts: the fork server, channels, messages and their environment."""
