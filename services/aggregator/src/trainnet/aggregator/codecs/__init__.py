"""How the numbers of an update travelled: from its bytes to numbers, slice by slice. CODECS.md fixes the bytes."""
