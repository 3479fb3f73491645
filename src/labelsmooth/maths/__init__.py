"""What is computed: the expression language, the chain, the conventions, and their renderings. NumPy only."""
