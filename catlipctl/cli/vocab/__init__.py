"""`catlipctl vocab`: count a vocabulary, look at one, change it, compare it with a label set."""
