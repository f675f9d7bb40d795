"""`trainnet demo`: real images, four workers, one model, beside the same model trained by one machine."""
