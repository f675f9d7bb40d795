"""The agent process: session, doorbell, transfers, slots. It never imports torch."""
