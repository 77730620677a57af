"""Searches that go on for hours: in slices, with a folder that any number of them share."""
