"""Do others agree: implementations beside the chain, comparison, the demo."""
