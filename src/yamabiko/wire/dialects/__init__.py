"""The vendor APIs that the gateway and wrapped clients speak, one module each."""
