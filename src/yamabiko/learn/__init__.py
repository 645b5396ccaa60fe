"""How the cache learns when it was wrong: labels, the standing of each namespace, judges, feedback, experiments."""
