"""All that a plugin author reads: the contract, its data, and how plugins are found."""
