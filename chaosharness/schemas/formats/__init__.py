"""One file a format. None is imported before a schema of its kind is given."""
