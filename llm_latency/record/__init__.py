"""Running and watching calls, and keeping each one's raw trace; nothing here formats or judges."""
