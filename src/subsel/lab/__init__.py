"""What experiments share: saved cells, timing, intervals, errors a person can mend."""
