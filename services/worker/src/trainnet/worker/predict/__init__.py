"""`trainnet predict`: runs a downloaded model's folder on somebody's data."""
