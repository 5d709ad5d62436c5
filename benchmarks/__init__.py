"""Benchmarks of tapeline beside what people use today. See docs/benchmarks.md."""
