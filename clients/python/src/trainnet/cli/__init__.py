"""The `trainnet` command."""
