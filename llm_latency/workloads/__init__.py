"""What is run when no code of the user's is: shapes, weights on disk, prompts, and targets by name."""
