"""Matrix products: in panels for large ones, and as the operands lie for thin ones."""
