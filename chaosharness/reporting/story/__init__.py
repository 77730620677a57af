"""What a report tells: which events, in which order, and in which words. No format."""
