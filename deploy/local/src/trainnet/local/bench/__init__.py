"""`trainnet bench`: what rounds and merges cost on this machine, measured on the whole stack."""
