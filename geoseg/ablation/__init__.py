"""The ablation: every setting on one split, the paper's tables, and its claims tested."""
