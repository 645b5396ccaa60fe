"""What only exists on AWS."""
