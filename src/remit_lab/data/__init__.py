"""Recorded events that come with the practice SOC."""
