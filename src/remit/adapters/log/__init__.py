"""The provable log in the world: its folder, reading it, its signer, and the keeper that writes it."""
