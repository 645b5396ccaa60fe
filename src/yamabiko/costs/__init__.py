"""What the cache costs and saves: counters and bill read, put side by side, told and sent (docs/costs.md)."""
