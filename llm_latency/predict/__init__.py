"""Time as a function of model and input: sweeps that measure it, fits of it, and what a fit says of other inputs."""
