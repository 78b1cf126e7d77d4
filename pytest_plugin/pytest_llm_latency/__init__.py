"""The pytest face: budgets, the llmtime fixture and outcomes; nothing is imported here."""
