"""From a config to the checked parts of an experiment; below this room nothing sees a config."""
