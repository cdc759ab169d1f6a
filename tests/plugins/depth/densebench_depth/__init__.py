"""Depth for densebench: what somebody else adds without touching it."""
