"""The index: what finds records by what they say, in a file of its own that can be lost and built anew."""
