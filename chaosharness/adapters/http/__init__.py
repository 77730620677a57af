"""HTTP: client libraries, third parties behind host names, web applications, webhooks."""
