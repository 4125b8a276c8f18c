"""Describe a step and its result: plain values, quoting and text, without SSH."""
