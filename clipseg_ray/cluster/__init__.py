"""What every Ray job here needs: a connection, what the cluster has, a function over many shards, Ctrl-C."""
