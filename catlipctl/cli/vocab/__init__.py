"""`catlipctl vocab`: count a vocabulary, look at one, compare it with a label set. A file a command."""
