"""What a run shows beside SageMaker's documents: a page for people."""
