"""Telling people what happens in studies: what a message says, how it is sent, and by whom."""
