"""Tabs of the page: components, events and the texts that visitors read."""
