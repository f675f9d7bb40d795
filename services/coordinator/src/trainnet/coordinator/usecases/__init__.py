"""What the coordinator does, one transaction each: read, decide by the domain, write, and tell after the commit."""
