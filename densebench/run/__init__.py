"""A run: options, the plan that they make, what it is executed on, and the record of it."""
