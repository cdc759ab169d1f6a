"""What a run leaves: the record, and everything that lies beside it."""
