"""Workers on this machine or on a cluster: each launcher starts, looks after and ends those of one engine."""
