"""Train, study and deploy residual spiking neural networks."""
