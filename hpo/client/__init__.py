"""Studies behind a server, for those who may not reach its store."""
