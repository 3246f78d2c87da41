"""Measurements that anyone can repeat, and the demonstration."""
