"""A machine's worker: its event loop, its studies, its trials from claim to end, and its reports to the store."""
