"""The workspace: the ledger with every fact, and the images beside it."""
