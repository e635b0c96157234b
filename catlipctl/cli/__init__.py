"""How a person talks to catlipctl: a file a command. Each parses, calls one function, shows the result."""
