"""The commands of `remit log`, each in a module of its own: `SAYS`, `add_arguments`, `run`."""
