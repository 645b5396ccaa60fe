"""Trains, exports and describes the verifiers that ship; benchmarks/train_verifier.py runs it."""
