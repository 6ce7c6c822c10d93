"""What is broken on purpose, and what is left of it: `make test-faults`."""
