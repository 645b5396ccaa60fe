"""The gateway: the same path behind HTTP, for clients that change nothing but their base URL."""
