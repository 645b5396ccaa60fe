"""What answers a request when the cache can't: models behind one async callable."""
