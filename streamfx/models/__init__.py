"""The served models, a file each, and what they share: the contract, model directories, the base class, the search."""
