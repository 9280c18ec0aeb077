"""A machine's worker: its loop, its studies, its trials from claim to end, and what it writes into the store."""
