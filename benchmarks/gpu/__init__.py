"""What `gpu_check.py` verifies on a GPU, a fact a function; not the suite's GPU tests, which it runs as well."""
