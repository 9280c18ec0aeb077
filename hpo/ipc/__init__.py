"""Communication of a worker with the processes it starts: fork server, channels, messages, environment."""
