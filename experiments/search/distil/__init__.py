"""Symbolic distillation: closed forms of learned drifts and optimizers, by regularised evolution of programs."""
