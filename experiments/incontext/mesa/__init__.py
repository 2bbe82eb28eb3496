"""Mesa-optimisation in single layers: trained linear attention and mesa-layers compared with theory."""
