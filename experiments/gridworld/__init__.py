"""What the studies on grid worlds (groove, lpg) share: configuration, assembly, the final table, pictures."""
