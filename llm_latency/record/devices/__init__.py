"""One file per kind of device: how to wait for it, mark it and ask for its memory."""
