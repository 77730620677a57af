"""Events with versions: services that are upgraded one after another."""
