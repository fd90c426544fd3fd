"""One module for each framework: how it trains and how it predicts a case."""
