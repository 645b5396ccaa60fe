"""Vendor JSON to Request and Reply, and back; pure."""
