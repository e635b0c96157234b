"""A checkpoint in the forms that others open: one file each, compared before it counts."""
