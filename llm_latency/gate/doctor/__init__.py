"""What makes this machine noisy, and which limit it supports; every finding with its remedy."""
