"""Results of a study, read-only: trials as plain records, a study's status, checkpoints to start from."""
