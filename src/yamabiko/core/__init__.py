"""Pure functions in the order in which a request meets them: no clock, no I/O, no logging."""
