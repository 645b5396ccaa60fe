"""The same path behind other people's interfaces. Each module needs its library, which an extra of its name brings."""
