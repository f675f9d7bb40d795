"""How updates travel: numbers into the bytes that services/aggregator/CODECS.md fixes."""
