"""How fast, how large: CatLIP against its relatives on this machine: `step`, `labels` and `loader`.

Nothing is imported here: a process that times labels shall not load torch for it.
"""
