"""How a person talks to catlipctl: one file per command; each parses, calls one function, and shows the result."""
