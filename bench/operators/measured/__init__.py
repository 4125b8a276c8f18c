"""Actions for benchmarks."""
