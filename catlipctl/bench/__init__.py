"""How fast, how large: CatLIP against its relatives on this machine. `step` is a benchmark, `labels` another.

Nothing is imported here: a process that times labels shall not load torch for it.
"""
