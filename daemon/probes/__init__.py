"""What `loraseal doctor` looks at: one function a probe, each with what to do about it."""
