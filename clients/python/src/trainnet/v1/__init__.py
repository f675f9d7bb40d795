"""The generated contract, version 1. Written by `make proto`; never edit it by hand."""
