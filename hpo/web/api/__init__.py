"""`/api/v1`: the interface for programs."""
