"""What codecs cost a small language model: real training, real merges, real files of updates."""
