"""Computing cells: the stages, their keys, the store, and the executors that run them."""
