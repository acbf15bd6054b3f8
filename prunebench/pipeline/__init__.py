"""How a cell is computed: its stages, their keys, the store, and engines that run them."""
