"""What is run when no code of the user's is: shapes, prompts and scenarios."""
