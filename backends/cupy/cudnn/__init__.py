"""Convolutions through cuDNN: its libraries, graphs, plans, and the methods that use them."""
