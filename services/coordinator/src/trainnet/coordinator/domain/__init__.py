"""Pure decisions of the coordinator: standard library only; time, ids and randomness are arguments."""
