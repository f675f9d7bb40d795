"""NATS: assignments, events and who may subscribe to what."""
