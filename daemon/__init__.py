"""What runs: watcher, engine, pipeline, custody, service, command line."""
