"""What the mutants of `bench.mutants` and the fuzzer share: edits, targets and their promises."""
