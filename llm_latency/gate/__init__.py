"""The merge gate: two versions of the code on one machine, alternating call by call; nothing here shows."""
