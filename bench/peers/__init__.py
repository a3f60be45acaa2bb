"""Other servers of the same contract, each in an environment of its own, measured in the same run."""
