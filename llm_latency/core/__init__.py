"""What a call is, what its numbers mean and how sure we are; pure arithmetic, no clock and no model."""
