"""The learner's code in processes of its own: kernels in bubblewrap, the channel to them, limits."""
