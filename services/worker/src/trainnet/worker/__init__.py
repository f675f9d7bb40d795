"""The worker agent: takes leases, prepares, trains and evaluates, and uploads what came out."""
