"""A witness of its own: it remembers the last checkpoint of each log that it knows, and cosigns what extends it."""
