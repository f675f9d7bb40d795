"""gRPC: converts messages, calls a use case, converts back."""
