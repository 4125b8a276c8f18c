"""Benchmarks: measure resop beside baselines, in the same run on the same machine."""
