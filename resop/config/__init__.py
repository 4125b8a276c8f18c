"""Read and check what a site configures: settings, the policy, logging."""
