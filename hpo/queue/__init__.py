"""The queue of trials in the store: claims, leases, limits, progress, reports, and requests of people."""
