"""In-context regression by Transformers compared with exact Bayesian posteriors: means, uncertainty, task diversity."""
