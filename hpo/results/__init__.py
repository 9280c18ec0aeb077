"""What came of a study, to read: trials as plain records, a study's status, weights to start from."""
